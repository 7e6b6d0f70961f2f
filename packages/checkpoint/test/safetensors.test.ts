/** Files of tensors: written, read, cut, corrupted, and exchanged with Python. `npx nx run checkpoint:test` */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bfloat16ToFloat32, openSafetensors, type StoredTensor, writeSafetensors } from '../src/safetensors.ts';

let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
  path = join(folder, 'model.safetensors');
});
afterAll(() => rm(folder, { recursive: true }));

/** Everything in a file, the file closed again. */
async function readAll(from: string) {
  const file = await openSafetensors(from);
  try {
    const tensors = new Map<string, StoredTensor>();
    for (const name of file.names) tensors.set(name, { ...file.info(name), data: await file.read(name) });
    return { tensors, metadata: file.metadata };
  } finally {
    await file.close();
  }
}

/** What `run` threw, which must be a UserError that names `about`. */
async function refusal(run: Promise<unknown>, about: string): Promise<string> {
  const error = await run.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(UserError);
  expect((error as UserError).message).toContain(about);
  return (error as UserError).message;
}

const elements = fc.oneof(
  fc.float32Array().map((data) => ({ dtype: 'F32' as const, data })),
  fc.float64Array().map((data) => ({ dtype: 'F64' as const, data })),
  fc.int32Array().map((data) => ({ dtype: 'I32' as const, data })),
  fc.uint16Array().map((data) => ({ dtype: 'BF16' as const, data })),
  fc.int8Array().map((data) => ({ dtype: 'I8' as const, data })),
  fc.bigInt64Array().map((data) => ({ dtype: 'I64' as const, data })),
);
const tensor: fc.Arbitrary<StoredTensor> = fc
  .tuple(elements, fc.boolean())
  .map(([{ dtype, data }, tall]) => ({ dtype, data, shape: tall ? [data.length, 1] : [data.length] }));
const tensors = fc.uniqueArray(fc.tuple(fc.string(), tensor), { selector: ([name]) => name, maxLength: 5 });

const sample = new Map<string, StoredTensor>([
  ['weight', { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, -2, 3, -4, 5, -6) }],
  ['tokens', { dtype: 'I32', shape: [3], data: Int32Array.of(7, 8, 9) }],
  ['odd', { dtype: 'U8', shape: [1], data: Uint8Array.of(255) }],
]);

test('what is written is read: every element, shape, dtype and note', async () => {
  await fc.assert(
    fc.asyncProperty(tensors, fc.dictionary(fc.string(), fc.string()), async (list, metadata) => {
      await writeSafetensors(path, new Map(list), metadata);
      const read = await readAll(path);
      expect(read.tensors).toEqual(new Map(list));
      expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(metadata).sort());
    }),
    { numRuns: 60 },
  );
});

test('a view into a larger buffer is written as the view', async () => {
  const data = Float32Array.of(0, 1, 2, 3, 4).subarray(1, 4);
  await writeSafetensors(path, new Map([['view', { dtype: 'F32', shape: [3], data }]]));
  expect((await readAll(path)).tensors.get('view')?.data).toEqual(Float32Array.of(1, 2, 3));
});

test("Python's file is read, and written again to the same bytes", async () => {
  const theirs = fileURLToPath(new URL('fixtures/interop.safetensors', import.meta.url));
  const read = await readAll(theirs);
  const signed = Array.from({ length: 15 }, (_, i) => i - 3);
  const unsigned = Array.from({ length: 15 }, (_, i) => i);
  for (const name of ['f64', 'f32', 'i64', 'i32', 'i16', 'i8']) {
    expect(read.tensors.get(name)?.shape).toEqual([3, 5]);
    expect(Array.from(read.tensors.get(name)?.data ?? [], Number)).toEqual(signed);
  }
  for (const name of ['u64', 'u32', 'u16', 'u8']) {
    expect(read.tensors.get(name)?.shape).toEqual([5, 3]);
    expect(Array.from(read.tensors.get(name)?.data ?? [], Number)).toEqual(unsigned);
  }
  const bits = read.tensors.get('bf16')?.data as Uint16Array;
  expect(Array.from(bfloat16ToFloat32(bits))).toEqual(signed);
  expect(read.tensors.get('f16')?.data[3]).toBe(0);
  expect(read.tensors.get('f16')?.data[4]).toBe(0x3c00); // 1.0 in float16
  expect(read.tensors.get('bool')?.data).toEqual(Uint8Array.of(1, 0, 1));
  expect(read.tensors.get('scalar')).toEqual({ dtype: 'F32', shape: [], data: Float32Array.of(2.5) });
  expect(read.tensors.get('empty')).toEqual({ dtype: 'F32', shape: [2, 0, 3], data: new Float32Array() });
  expect(read.tensors.get('7 "quoted" \\ wéight {')?.data).toEqual(Float32Array.of(1.5, -0, Infinity));
  expect(read.metadata).toEqual({ 'made by': 'tools/fixtures/interop.py' });

  await writeSafetensors(path, new Map([...read.tensors].reverse()), read.metadata);
  expect(await readFile(path)).toEqual(await readFile(theirs));
});

test('a file cut anywhere is refused', async () => {
  await writeSafetensors(path, sample, { step: '3' });
  const whole = await readFile(path);
  const cut = join(folder, 'cut.safetensors');
  for (let length = 0; length < whole.length; length++) {
    await writeFile(cut, whole.subarray(0, length));
    await refusal(openSafetensors(cut), cut);
  }
  await writeFile(cut, Buffer.concat([whole, Buffer.of(0)]));
  expect(await refusal(openSafetensors(cut), cut)).toContain('describes 37 data bytes, and 38 are there');
});

test('a file with wrong bytes in its header is refused, or gives tensors that fill its data', async () => {
  await writeSafetensors(path, sample, { step: '3' });
  const whole = await readFile(path);
  const headerEnd = whole.length - 37;
  const wrong = join(folder, 'wrong.safetensors');
  const change = fc.tuple(fc.nat({ max: headerEnd - 1 }), fc.nat({ max: 255 }));
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(whole);
      for (const [at, value] of changes) bytes[at] = value;
      await writeFile(wrong, bytes);
      const read = await readAll(wrong).catch((error: unknown) => {
        refused++;
        expect(error).toBeInstanceOf(UserError);
      });
      const total = [...(read?.tensors.values() ?? [])].reduce((sum, { data }) => sum + data.byteLength, 0);
      expect(total).toBe(read ? 37 : 0);
    }),
    { numRuns: 300 },
  );
  expect(refused).toBeGreaterThan(100);
});

test('a header that claims more than the file or the format has is refused before it is allocated', async () => {
  const claiming = async (length: bigint, size: number) => {
    await writeFile(path, Buffer.from(BigUint64Array.of(length).buffer));
    await truncate(path, size); // the rest is a hole, which takes no disk
    return refusal(openSafetensors(path), path);
  };
  for (const claim of [2n ** 64n - 1n, 2n ** 53n, 9n]) {
    expect(await claiming(claim, 16)).toContain(`its header claims ${Number(claim)} bytes; 8 follow`);
  }
  expect(await claiming(100_000_001n, 200_000_000)).toContain('and 100000000 is the most');
});

test('a missing file, a folder and an unknown tensor are named', async () => {
  const missing = join(folder, 'missing.safetensors');
  expect(await refusal(openSafetensors(missing), missing)).toContain('ENOENT');
  await refusal(openSafetensors(folder), folder);
  await writeSafetensors(path, sample);
  const file = await openSafetensors(path);
  expect(() => file.info('wieght')).toThrow(new UserError(`${path} has no tensor "wieght" among its 3`));
  expect(await refusal(file.read('wieght'), path)).toContain('"wieght"');
  await file.close();
});

test('a file that shrinks after it was opened is refused at the tensor that is gone', async () => {
  await writeSafetensors(path, sample);
  const file = await openSafetensors(path);
  await writeFile(path, (await readFile(path)).subarray(0, -1));
  expect((await file.read('weight')).length).toBe(6);
  expect(await refusal(file.read('odd'), path)).toContain('the file ends 1 bytes too early');
  await file.close();
});

test('a write that fails leaves what was there and nothing beside it', async () => {
  const nowhere = join(folder, 'no', 'such', 'folder.safetensors');
  expect(await refusal(writeSafetensors(nowhere, sample), nowhere)).toContain('ENOENT');
  const taken = join(folder, 'taken'); // a folder has the name: only the rename, after all is written, can fail
  await mkdir(taken);
  await refusal(writeSafetensors(taken, sample), taken);
  expect((await stat(taken)).isDirectory()).toBe(true);
  expect((await readdir(folder)).filter((name) => name.includes('partial'))).toEqual([]);
});

test('data that does not fit its dtype and shape is a defect of the caller, and nothing is written', async () => {
  const unwritten = join(folder, 'unwritten');
  const write = (stored: StoredTensor, name = 'w') => writeSafetensors(unwritten, new Map([[name, stored]]));
  await expect(write({ dtype: 'F32', shape: [2], data: new Float32Array(3) })).rejects.toThrow(TypeError);
  await expect(write({ dtype: 'F32', shape: [2], data: new Int32Array(2) })).rejects.toThrow('Int32Array for F32 [2]');
  const fits: StoredTensor = { dtype: 'F32', shape: [1], data: new Float32Array(1) };
  await expect(write(fits, '__metadata__')).rejects.toThrow(TypeError);
  await expect(stat(unwritten)).rejects.toThrow('ENOENT');
});

test('bfloat16 widens to the float32 with the same upper half', () => {
  const widened = bfloat16ToFloat32(Uint16Array.of(0x3f80, 0xc049, 0x8000, 0x7f80, 0x0001));
  expect(Array.from(widened)).toEqual([1, -3.140625, -0, Infinity, 2 ** -133]);
  expect(bfloat16ToFloat32(Uint16Array.of(0x7fc0))[0]).toBeNaN();
});
