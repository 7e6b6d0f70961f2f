import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openSafetensors } from '../src/safetensors.ts';
import { Writer } from '../src/writer.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-writer-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('files are written on another thread; their hashes are those of the files; memory is used again', async () => {
  const writer = new Writer();
  const path = join(folder, 'a.safetensors');
  const first = writer.tensor('m w all 0-3', 'F32', 3);
  first.data.set([1, 2, 3] as never);
  const { buffer } = first.data;
  const written = await writer.write(path, new Map([['m w all 0-3', first]]));
  expect(buffer.byteLength).toBe(0); // it went to the thread
  const bytes = readFileSync(path);
  expect(written).toEqual({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
  const file = await openSafetensors(path);
  expect(await file.read('m w all 0-3', 1, 3)).toEqual(Float32Array.of(2, 3));
  await expect(file.read('m w all 0-3', 1, 4)).rejects.toThrow(RangeError);
  await file.close();
  expect([...writer.tensor('m w all 0-3', 'F32', 3).data]).toEqual([1, 2, 3]); // the same memory came back
  writer.begin();
  expect([...writer.tensor('another', 'F32', 3).data]).toEqual([0, 0, 0]); // of another first name: new
  await writer.close();
});

test('tensors share memory where they fit, none overlaps another, and all of it is used again', async () => {
  const writer = new Writer();
  const sizes = [3, 1, 2 ** 20 + 1, 5, 2 ** 21, 7]; // the third and the fifth have memory of their own
  const file = () => new Map(sizes.map((size, i) => [`w${i}`, writer.tensor(`w${i}`, 'F32', size)]));
  const path = join(folder, 'many.safetensors');
  const tensors = file();
  const memory = [...tensors.values()].map(({ data }) => data.buffer);
  expect(new Set(memory).size).toBe(3);
  expect(memory[5]).toBe(memory[0]);
  for (const [i, { data }] of [...tensors.values()].entries()) (data as Float32Array).fill(i + 1);
  await writer.write(path, tensors);
  const read = await openSafetensors(path);
  for (const [i, size] of sizes.entries()) {
    const values = (await read.read(`w${i}`)) as Float32Array;
    expect([values.length, values.every((value) => value === i + 1)]).toEqual([size, true]);
  }
  await read.close();
  const again = [...file().values()].map(({ data }) => Number(data[0]));
  expect(again).toEqual([1, 2, 3, 4, 5, 6]);
  await writer.close();
});

test('what the disk refuses is the result, and the next file is written all the same', async () => {
  const writer = new Writer();
  const tensors = () => new Map([['w', writer.tensor('w', 'F32', 2)]]);
  expect(await writer.write(join(folder, 'no', 'b.safetensors'), tensors())).toMatchObject({
    problem: expect.stringMatching(/b\.safetensors cannot be written: ENOENT/),
  });
  expect(await writer.write(join(folder, 'b.safetensors'), tensors())).toMatchObject({ bytes: expect.any(Number) });
  await writer.close();
});
