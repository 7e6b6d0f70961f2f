import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBackend, UserError } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openSafetensors, sizeOf, writeTensors } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-write-tensors-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => openBackend({ device: 'cpu', threads: 2 }));

const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });
const tensor = shapes.chain((shape) =>
  fc.float32Array({ minLength: sizeOf(shape), maxLength: sizeOf(shape) }).map((numbers) => ({ shape, numbers })),
);

test('a file that was written holds the same names, shapes and bits, and the tensors are freed', async () => {
  const path = join(folder, 'whole.safetensors');
  const entries = fc.dictionary(fc.string({ minLength: 1 }), tensor, { maxKeys: 4, noNullPrototype: true });
  await fc.assert(
    fc.asyncProperty(entries, async (written) => {
      const tensors = new Map(
        Object.entries(written).map(([name, { shape, numbers }]) => [name, tf.tensor(numbers, shape, 'float32')]),
      );
      const alive = tf.memory().numTensors;
      await writeTensors(path, tensors);
      expect(tf.memory().numTensors).toBe(alive - tensors.size);
      const file = await openSafetensors(path);
      expect([...file.names].sort()).toEqual(Object.keys(written).sort());
      for (const [name, { shape, numbers }] of Object.entries(written)) {
        expect(file.info(name)).toEqual({ dtype: 'F32', shape });
        expect(new Uint32Array((await file.read(name)).buffer)).toEqual(new Uint32Array(numbers.slice().buffer));
      }
      await file.close();
    }),
    { numRuns: 40 },
  );
});

test('a file that cannot be written is named', async () => {
  const path = join(folder, 'no', 'such.safetensors');
  const writing = expectNoLeak(async () => {
    const tensors = new Map([['x', tf.scalar(1)]]);
    return writeTensors(path, tensors).catch((error: unknown) => error);
  });
  const error = await writing;
  expect(error).toBeInstanceOf(UserError);
  expect((error as UserError).message).toContain(`${path} cannot be written: `);
});
