import { expect, test } from 'vitest';
import { Scratch } from '../src/tcp/scratch.ts';

test('memory that was given back is given out again, the smallest that will do', () => {
  const scratch = new Scratch();
  const [small, large] = [scratch.take(100), scratch.take(1000)];
  expect([small.length, large.length]).toEqual([100, 1000]);
  expect(small.buffer).not.toBe(large.buffer);
  scratch.giveBack(large);
  scratch.giveBack(small);
  const again = scratch.take(50);
  expect([again.length, again.byteOffset]).toEqual([50, 0]);
  expect(again.buffer).toBe(small.buffer);
  expect(scratch.take(50).buffer).toBe(large.buffer);
  expect(scratch.take(50).buffer).not.toBe(large.buffer); // nobody gets what another one holds
});

test('what is too small is not given out', () => {
  const scratch = new Scratch();
  scratch.giveBack(scratch.take(99));
  expect(scratch.take(100).buffer.byteLength).toBe(100);
});

test('it starts where the memory starts, so that any numbers fit', () => {
  const scratch = new Scratch();
  scratch.giveBack(scratch.take(64).subarray(0, 3)); // a part stands for all
  const view = scratch.take(64);
  expect([view.byteOffset, view.length]).toEqual([0, 64]);
});

test('no bytes are no memory, and no more than 256 MiB are kept', () => {
  const scratch = new Scratch();
  scratch.giveBack(scratch.take(0));
  expect(scratch.take(0).length).toBe(0);
  const [a, b] = [scratch.take(200 << 20), scratch.take(100 << 20)];
  scratch.giveBack(a);
  scratch.giveBack(b); // would make 300
  expect(scratch.take(100 << 20).buffer).toBe(a.buffer);
  expect(scratch.take(1).buffer.byteLength).toBe(1);
});
