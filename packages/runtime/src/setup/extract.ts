/** Extracts from a wheel the few parts that are needed. A wheel is a zip file, and Python's zipfile reads it. */
import { fileURLToPath } from 'node:url';
import { progressBar, type Screen } from '../progress.ts';
import { SetupFailure } from './failure.ts';
import { run } from './run.ts';
import type { Wheel } from './wheels.ts';

const SCRIPT = fileURLToPath(new URL('extract.py', import.meta.url));

/** Writes the members of `wheel`, which lies at `path`, that begin with one of `members` into `folder`, names kept. */
export async function extractWheel(wheel: Wheel, path: string, folder: string, members: string[], screen: Screen) {
  const bar = progressBar({ label: `  ${wheel.project}`, total: wheel.unpacked, unit: 'bytes', screen });
  const onLine = (line: string) => bar.update(Number(line));
  const { code, errors } = await run('python3', [SCRIPT, path, folder, ...members], { onLine });
  bar.done();
  if (code === 28) throw new SetupFailure('the disk is full');
  if (code !== 0) throw new SetupFailure(`${wheel.file}: ${errors.trim().split('\n').at(-1)}`);
}
