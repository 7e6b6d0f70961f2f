import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blank, bytesOf, type Fold, fold, memoryOf } from '../src/bytes.ts';
import { BYTES, cast, type DType, dtypeOf, read } from '../src/index.ts';
import { onDtypes, tensorOf } from './tensors.ts';
import { expectNoLeak } from './testing.ts';

const f32 = Math.fround;
const bytesIn = (x: Float32Array | Int32Array | Uint16Array): Uint8Array =>
  new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
const floatsIn = (bytes: Uint8Array) => new Float32Array(Uint8Array.from(bytes).buffer);

/** A tensor of any numbers at `dtype`, and what its bytes must be. */
async function known(values: Float32Array, dtype: DType): Promise<{ x: tf.Tensor; bytes: Uint8Array }> {
  if (dtype === 'int32') {
    const whole = new Int32Array(values.buffer, values.byteOffset, values.length);
    return { x: tf.tensor1d(whole, 'int32'), bytes: bytesIn(whole) };
  }
  const x = tf.tidy(() => cast(tf.tensor1d(values, 'float32'), dtype));
  if (dtype === 'float32') return { x, bytes: bytesIn(values) };
  const words = new Uint16Array(Float32Array.from(await read(x)).buffer);
  return { x, bytes: bytesIn(Uint16Array.from({ length: values.length }, (_, i) => words[2 * i + 1] as number)) };
}

const floats = fc.float32Array({ maxLength: 70 });

onDtypes((name, dtypes) => {
  const dtype = fc.constantFrom<DType>(...dtypes);

  test('the bytes of a tensor are its numbers, little-endian, and the tensor of them is it again', async () => {
    await fc.assert(
      fc.asyncProperty(floats, dtype, async (values, type) => {
        await expectNoLeak(async () => {
          const { x, bytes } = await known(values, type);
          const { view, giveBack } = await bytesOf(x);
          const copy = Uint8Array.from(view);
          if (type !== 'bfloat16') expect(copy).toEqual(bytes);
          else for (const [i, byte] of copy.entries()) if (!Number.isNaN(values[i >> 1])) expect(byte).toBe(bytes[i]);
          const y = blank(x.shape, type);
          expect(y.view.length).toBe(view.length);
          y.view.set(view);
          giveBack();
          const again = y.finish();
          expect([again.shape, dtypeOf(again)]).toEqual([x.shape, type]);
          expect(Array.from(await read(again))).toEqual(Array.from(await read(x)));
          tf.dispose([x, again]);
        });
      }),
      { numRuns: 30 },
    );
  });

  test.each(dtypes)('any part of %s may be read and written on its own', async (type) => {
    await expectNoLeak(async () => {
      const x = tensorOf([10, 5], type);
      const [from, out] = [await memoryOf(x), blank([10, 5], type)];
      const bytes = 50 * BYTES[type];
      const step = 6 * BYTES[type];
      for (let start = 0; start < bytes; start += step) {
        const [part, place] = [from, out].map((one) => one.part(start, Math.min(start + step, bytes)));
        place?.view.set(part?.view as Uint8Array);
        part?.giveBack();
        place?.giveBack();
      }
      const y = out.finish();
      expect(Array.from(await read(y))).toEqual(Array.from({ length: 50 }, (_, i) => i));
      tf.dispose([x, y]);
    });
  });

  test.each(dtypes)('an empty tensor of %s has no bytes, a 0-d one those of one number', async (type) => {
    await expectNoLeak(async () => {
      for (const [shape, count] of [
        [[0], 0],
        [[3, 0, 2], 0],
        [[], 1],
      ] as const) {
        const x = tensorOf(shape, type);
        const { view, giveBack } = await bytesOf(x);
        const y = blank(shape, type);
        expect([view.length, y.view.length]).toEqual([count * BYTES[type], count * BYTES[type]]);
        y.view.set(view);
        giveBack();
        const made = y.finish();
        expect([made.shape, dtypeOf(made), Array.from(await read(made))]).toEqual([[...shape], type, count ? [0] : []]);
        tf.dispose([x, made]);
      }
    });
  });

  // ## Sums

  const normal = fc.float({ min: f32(-1e30), max: f32(1e30), noNaN: true }).map((x) => (Math.abs(x) < 1e-30 ? 1 : x));
  const inputsOf = (length: number, count: number) =>
    fc.array(fc.array(normal, { minLength: length, maxLength: length }), { minLength: count, maxLength: count });
  const some = fc
    .tuple(fc.integer({ min: 0, max: 67 }), fc.integer({ min: 1, max: 5 }))
    .chain(([length, count]) => inputsOf(length, count));

  /** fold's result over tensors' values, and plain arithmetic's. */
  function foldFloats(rows: readonly number[][], kind: Fold): Float32Array {
    const inputs = rows.map((row) => bytesIn(Float32Array.from(row)));
    const out = new Uint8Array(inputs[0]?.length as number).fill(99);
    fold(out, inputs, 'float32', kind);
    return floatsIn(out);
  }
  const plain = (rows: readonly number[][], kind: Fold) =>
    Float32Array.from((rows[0] as number[]).keys(), (i) => {
      const terms = rows.map((row) => row[i] as number);
      if (kind === 'max') return Math.max(...terms);
      const sum = terms.reduce((a, b) => f32(a + b));
      return kind === 'mean' ? f32(sum / rows.length) : sum;
    });

  test.each(['sum', 'mean', 'max'] as const)('%s of float32, of any length, is that of rounded arithmetic', (kind) => {
    fc.assert(
      fc.property(some, (rows) => {
        const [ours, expected] = [foldFloats(rows, kind), plain(rows, kind)];
        // Where numbers cancel, what is left may be subnormal, which TensorFlow has as 0.
        for (const [i, value] of expected.entries()) if (Math.abs(value) > 1.2e-38) expect(ours[i]).toBe(value);
      }),
      { numRuns: 60 },
    );
  });

  test('long arrays, of several blocks and a rest', () => {
    const rows = [1, 2, 3].map((k) => Array.from({ length: 12_345 }, (_, i) => f32(Math.sin(i * k) * 10 ** (i % 5))));
    expect(foldFloats(rows, 'sum')).toEqual(plain(rows, 'sum'));
  });

  test('int32 sums wrap around; the largest is signed', () => {
    const rows = [
      [2 ** 31 - 1, -(2 ** 31), 5, -7, 1],
      [1, -1, -9, -8, 2],
    ].map((row) => bytesIn(Int32Array.from(row)));
    const out = new Uint8Array(20);
    fold(out, rows, 'int32', 'sum');
    expect([...new Int32Array(out.buffer)]).toEqual([-(2 ** 31), 2 ** 31 - 1, -4, -15, 3]);
    fold(out, rows, 'int32', 'max');
    expect([...new Int32Array(out.buffer)]).toEqual([2 ** 31 - 1, -1, 5, -7, 2]);
  });

  test('the result may go to the place of any input', () => {
    for (const place of [0, 1, 2]) {
      const inputs = [1, 10, 100].map((value) => bytesIn(new Float32Array(5000).fill(value)));
      fold(inputs[place] as Uint8Array, inputs, 'float32', 'sum');
      expect(new Set(floatsIn(inputs[place] as Uint8Array))).toEqual(new Set([111]));
    }
  });

  test('views that begin anywhere in their memory, of one input alone', () => {
    const memory = bytesIn(Float32Array.from([9, 1, 2, 3, 9]));
    const out = new Uint8Array(20).subarray(4, 16);
    fold(out, [memory.subarray(4, 16)], 'float32', 'sum');
    expect([...floatsIn(out)]).toEqual([1, 2, 3]);
  });

  if (name === 'wasm') return;

  // ## TensorFlow's own

  const odd = [
    0,
    -0,
    1e-45,
    -1e-40,
    1.1e-38,
    -1.2e-38,
    1,
    -1,
    3e38,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    Number.NaN,
  ];

  test.each<[Fold, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor]>([
    ['sum', tf.add],
    ['mean', (a, b) => tf.div(tf.add(a, b), 2)],
    ['max', tf.maximum],
  ])('%s gives the bits that TensorFlow gives: subnormals, NaN, infinities, zeros', async (kind, theirs) => {
    const pairs = odd.flatMap((a) => odd.map((b) => [a, b] as const));
    await expectNoLeak(async () => {
      const rows = [0, 1].map((k) => Float32Array.from(pairs, (pair) => pair[k as 0 | 1]));
      const [a, b] = rows.map((row) => tf.tensor1d(row, 'float32')) as [tf.Tensor, tf.Tensor];
      const expected = tf.tidy(() => theirs(a, b));
      const out = new Uint8Array(4 * pairs.length);
      fold(out, rows.map(bytesIn), 'float32', kind);
      const [ours, plain] = [floatsIn(out), (await expected.data()) as Float32Array];
      // Which of 0 and -0 is the larger, TensorFlow decides by the place in the tensor: in a vector's registers or not.
      const bits = (value: number | undefined) => (kind === 'max' && value === 0 ? 0 : value);
      for (const [i, pair] of pairs.entries())
        expect(Object.is(bits(ours[i]), bits(plain[i])), `${kind} of ${pair}`).toBe(true);
      tf.dispose([a, b, expected]);
    });
  });

  test.each(['sum', 'mean', 'max'] as const)('%s of bfloat16 is taken in float32 and rounded once', async (kind) => {
    await fc.assert(
      fc.asyncProperty(some, async (rows) => {
        await expectNoLeak(async () => {
          const all = await Promise.all(rows.map((row) => known(Float32Array.from(row), 'bfloat16')));
          const wide = await Promise.all(all.map(async ({ x }) => Array.from(await read(x))));
          const expected = await known(plain(wide, kind), 'bfloat16');
          const out = new Uint8Array(expected.bytes.length);
          fold(
            out,
            all.map(({ bytes }) => bytes),
            'bfloat16',
            kind,
          );
          const [ours, theirs] = [out, expected.bytes].map((bytes) => new Uint16Array(Uint8Array.from(bytes).buffer));
          for (const [i, value] of plain(wide, kind).entries())
            if (Math.abs(value) > 1.2e-38) expect(ours?.[i]).toBe(theirs?.[i]);
          tf.dispose([...all.map(({ x }) => x), expected.x]);
        });
      }),
      { numRuns: 25 },
    );
  });

  test('fold refuses what does not fit', () => {
    const four = new Uint8Array(4);
    expect(() => fold(four, [four, new Uint8Array(8)], 'float32', 'sum')).toThrow('different lengths');
    expect(() => fold(new Uint8Array(8), [four], 'float32', 'sum')).toThrow('different lengths');
    expect(() => fold(four, [], 'float32', 'sum')).toThrow('fold takes');
    expect(() => fold(four, [four], 'bool', 'sum')).toThrow('no such dtype');
    expect(() => fold(new Uint8Array(0), [new Uint8Array(0)], 'float32', 'sum')).not.toThrow();
  });

  // ## Without a copy

  describe('lent memory', () => {
    test('what is written through the view of a blank is the tensor’s, at once', async () => {
      await expectNoLeak(async () => {
        const made = blank([3], 'float32');
        const before = made.part(0, 12);
        made.view.set(bytesIn(Float32Array.of(1, 2, 3)));
        expect([...floatsIn(before.view)]).toEqual([1, 2, 3]); // two views of one memory
        before.giveBack();
        const { view } = made;
        const x = made.finish();
        expect(view.length).toBe(0);
        expect(Array.from(await x.data())).toEqual([1, 2, 3]);
        x.dispose();
      });
    });

    test('two loans of a tensor are one memory: it is lent, not copied', async () => {
      await expectNoLeak(async () => {
        const x = tf.tidy(() => tf.mul(tf.ones([4]), 5));
        const [a, b] = [await bytesOf(x), await bytesOf(x)];
        bytesIn(floatsIn(a.view)); // reads
        a.view.set(bytesIn(Float32Array.of(7, 7, 7, 7))); // nobody should, but it shows
        expect([...floatsIn(b.view)]).toEqual([7, 7, 7, 7]);
        a.giveBack();
        expect([a.view.length, b.view.length]).toEqual([0, 16]);
        b.giveBack();
        x.dispose();
      });
    });

    test('it outlives the tensor, until it is given back', async () => {
      await expectNoLeak(async () => {
        const x = tf.tidy(() => tf.mul(tf.ones([1000]), 5));
        const { view, giveBack } = await bytesOf(x);
        x.dispose();
        const others = Array.from({ length: 20 }, () => tf.tidy(() => tf.mul(tf.ones([1000]), 3)));
        await Promise.all(others.map((other) => other.data()));
        expect(new Set(floatsIn(view))).toEqual(new Set([5]));
        giveBack();
        expect(view.length).toBe(0);
        tf.dispose(others);
      });
    });

    test('a part is no longer than the tensor', async () => {
      const x = tensorOf([2], 'float32');
      const memory = await memoryOf(x);
      for (const [from, to] of [
        [0, 9],
        [-1, 4],
        [5, 4],
      ] as const)
        expect(() => memory.part(from, to)).toThrow('takeLent takes');
      x.dispose();
    });
  });
});
