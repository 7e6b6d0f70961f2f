/**
 * How much memory the machine has, so that a model which can't fit is refused in one sentence before anything is
 * allocated.
 */
import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';

/** Bytes of memory this process may use: the machine's, or its control group's where that is less. */
export function machineMemory(): number {
  const limits = ['/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/memory/memory.limit_in_bytes'].map((file) => {
    try {
      return Number(readFileSync(file, 'utf8')); // "max" where there is no limit: NaN
    } catch {
      return Number.NaN; // not Linux, or another version of control groups
    }
  });
  return Math.min(totalmem(), ...limits.filter((bytes) => bytes > 0));
}
