/** Settings that name files, in a run that has no disk. */
import { UserError } from '@fourfold/runtime';
import type { Settings } from '@fourfold/settings';

const FILES = ['checkpoints', 'gradients', 'trace', 'export'] as const;

/** Throws UserError for what would have to be read or written, so that nothing is left out in silence. */
export function checkWithoutDisk(config: Settings): void {
  const key = FILES.find((one) => config[one] !== undefined);
  if (key) throw new UserError(`${key}=${config[key]} needs a disk, and this run has none: leave it out`);
}
