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
  expect([...writer.tensor('m w all 0-3', 'BF16', 3).data]).toEqual([0, 0, 0]); // of another kind, new
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
