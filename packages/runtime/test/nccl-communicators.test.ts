/** What collectives order the GPU to do, and what their times are, against an imitation of NVIDIA's libraries. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findCompiler } from '../src/setup/look.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-nccl-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const run = promisify(execFile);

/** The program's sections, each a list of lines, by the headings that it prints. */
let said: Record<'untimed' | 'timed', string[]>;

beforeAll(async () => {
  const { command } = await findCompiler();
  const [library, program] = [join(folder, 'libcuda.so.1'), join(folder, 'program')];
  await run(command, ['-std=c++17', '-w', '-shared', '-fPIC', file('nvidia-imitation.cc'), '-o', library]);
  symlinkSync(library, join(folder, 'libnccl.so.2'));
  const sources = ['nccl/communicators.cc', 'nccl/nccl.cc', 'gpu/driver.cc'].map((path) => file(`../native/${path}`));
  const options = ['-std=c++17', '-w', file('nccl-communicators.cc'), ...sources, library, '-ldl', '-pthread'];
  await run(command, [...options, '-o', program]);
  const { stdout } = await run(program, { env: { LD_LIBRARY_PATH: folder } });
  const [, untimed = '', timed = ''] = stdout.split(/^# (?:untimed, 1 events|timed)\n/m);
  said = { untimed: untimed.trim().split('\n'), timed: timed.trim().split('\n') };
}, 300_000);

// s0 is TensorFlow's stream, s1 the group's; e0 says that TensorFlow's has come to where the collective was started.
test('a collective waits for what was computed, and TensorFlow for it: the GPU waits, and never the host', () => {
  expect(said.untimed).toEqual([
    's0 comes by e0',
    's1 waits for e0',
    's1 sums 5',
    's1 comes by e1',
    's0 waits for e1',
    '# x is free', // its memory may be used again on s0, behind the collective
    '# 2 events', // and none is timed
    's0 comes by e2, timed', // the event that times are to count from
  ]);
});

test('while times are taken, two events stand around what NCCL does', () => {
  expect(said.timed.slice(0, 6)).toEqual([
    's0 comes by e0',
    's1 waits for e0',
    's1 comes by e4, timed',
    's1 sums 5',
    's1 comes by e5, timed',
    's1 comes by e3',
  ]);
});

test('tensors are held until TensorFlow waits for their collective, or it is seen to have ended', () => {
  const order = said.timed.filter((line) => / free$|waits for e[36]$/.test(line));
  expect(order).toEqual([
    's0 waits for e6',
    '# z is free',
    's0 waits for e3',
    '# y is free',
    '# w is free',
    '# v is free',
  ]);
});

// TensorFlow's stream computes 5 ms, starts a collective of 3 ms, computes 2 ms and starts another, which waits for the
// first in its group's stream. A third has not ended when the times are read.
test('times count from the mark, by the GPU; events are gone when they have been read', () => {
  expect(said.timed.filter((line) => line.startsWith('# ticket'))).toEqual([
    '# ticket 1 from 5 to 8',
    '# ticket 2 from 8 to 11',
  ]);
  expect(said.timed).toContain('# 6 events'); // of 12: e0, one for each of four collectives, and the mark
  expect(said.timed).toContain('# a mark is needed, from which times count');
  expect(said.timed.slice(-6)).toEqual([
    's0 comes by e0',
    's1 waits for e0',
    's1 sums 5', // untimed again
    's1 comes by e9', // in an event that was used before
    '# v is free',
    '# closed, 3 events',
  ]);
});
