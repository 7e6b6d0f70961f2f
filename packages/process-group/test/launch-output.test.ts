import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { Output } from '../src/launch/output.ts';

/** Two sinks that remember what was written to them. */
function outputOf(ranks: number[], terminal: { isTTY?: boolean; hasColors?: () => boolean } = {}) {
  const stdout = Object.assign(new PassThrough({ highWaterMark: 100 }), terminal);
  const stderr = new PassThrough();
  const closed: string[] = [];
  const output = new Output(stdout, stderr, ranks, () => closed.push('closed'));
  return { output, stdout, stderr, closed, shown: () => String(stdout.read() ?? '') };
}

test('each line has its rank before it, and the prefixes are equally wide', async () => {
  const { output, shown } = outputOf([9, 10]);
  await output.print(9, 'stdout', ['one', 'two']);
  await output.print(10, 'stdout', ['three']);
  expect(shown()).toBe('[rank 9]  one\n[rank 9]  two\n[rank 10] three\n');
});

test('a rank that has a place goes by it', async () => {
  const { output, shown } = outputOf([0, 1]);
  output.name(1, 'dp0 tp1');
  await output.print(0, 'stdout', ['one']);
  await output.print(1, 'stdout', ['two']);
  expect(shown()).toBe('[rank 0]  one\n[dp0 tp1] two\n');
});

test('stderr lines and notes go to stderr', async () => {
  const { output, stderr, shown } = outputOf([0]);
  await output.print(0, 'stderr', ['oh']);
  output.note('attempt 2 of 2');
  expect(String(stderr.read())).toBe('[rank 0] oh\nattempt 2 of 2\n');
  expect(shown()).toBe('');
});

test('a terminal with colors shows each rank in its own, the text as it is', async () => {
  const { output, shown } = outputOf([0, 1], { isTTY: true, hasColors: () => true });
  await output.print(0, 'stdout', ['a']);
  await output.print(1, 'stdout', ['b']);
  expect(shown()).toBe('\u001b[36m[rank 0]\u001b[39m a\n\u001b[33m[rank 1]\u001b[39m b\n');
});

test('a terminal without colors, or NO_COLOR, has none', async () => {
  const { output, shown } = outputOf([0], { isTTY: true, hasColors: () => false });
  await output.print(0, 'stdout', ['a']);
  expect(shown()).toBe('[rank 0] a\n');
});

test('printing waits for a slow reader, whichever rank prints', async () => {
  const { output, stdout } = outputOf([0, 1]);
  let done = 0;
  const prints = [0, 1].map((rank) => output.print(rank, 'stdout', ['x'.repeat(200)]).then(() => done++));
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(done).toBe(0);
  stdout.resume();
  await Promise.all(prints);
  expect(done).toBe(2);
});

test('when the reader goes away, that is told, and nothing waits for it any more', async () => {
  const { output, stdout, closed } = outputOf([0]);
  const waiting = output.print(0, 'stdout', ['x'.repeat(200)]);
  stdout.destroy(new Error('EPIPE'));
  await waiting;
  await output.print(0, 'stdout', ['more']);
  expect(closed).toEqual(['closed']);
});
