import { Parameter } from '@fourfold/ops';
import { cast, type DType, dtypeOf, keyOf, memory, normals, read } from '@fourfold/runtime';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { AdamW, type AdamWOptions, squaredNorm } from '../src/index.ts';

beforeAll(() => useBackend('cpu'));

const numbers = (name: string, count: number): Float32Array => normals(keyOf(1, name), 0, count);

/** A parameter of normal numbers that bfloat16 holds exactly. */
const parameter = (name: string, count: number, dtype: DType, gradDtype?: DType): Parameter =>
  Parameter.of(
    name,
    tf.tidy(() => cast(cast(tf.tensor1d(numbers(name, count)), 'bfloat16'), dtype)),
    gradDtype,
  );

/** Makes `steps` steps with random gradients, and gives the values of all parameters. */
async function moved(parameters: Parameter[], options: AdamWOptions, steps: number, rate = 0.01): Promise<number[][]> {
  const adam = new AdamW(parameters, options);
  for (let step = 1; step <= steps; step++) {
    for (const p of parameters) p.accumulate(tf.tensor(numbers(`${p.name} ${step}`, p.value.size), [...p.shape]));
    adam.update(rate);
  }
  const values = [];
  for (const p of parameters) values.push(Array.from(await read(p.value)));
  adam.dispose();
  for (const p of parameters) p.dispose();
  return values;
}

const mean = (x: ArrayLike<number>): number => Array.from(x).reduce((sum, one) => sum + one, 0) / x.length;
const largestGap = (a: number[], b: number[]): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - (b[i] as number))), 0);

// ## Memory

test('weights change where they lie: who cloned them sees it, who gave the first value does not', async () => {
  const given = tf.tensor1d([1, 2]);
  const p = Parameter.of('w', given.clone());
  const adam = new AdamW([p]);
  const [value, clone] = [p.value, p.value.clone()];
  p.accumulate(tf.ones([2]));
  adam.update(0.5);
  expect(p.value).toBe(value);
  expect(Array.from(await clone.data())).toEqual([0.5, 1.5]);
  expect(Array.from(await given.data())).toEqual([1, 2]);
  tf.dispose([given, clone]);
  adam.dispose();
  p.dispose();
});

test.each([
  ['float32', 'float32', true, 8],
  ['bfloat16', 'float32', true, 12],
  ['bfloat16', 'bfloat16', true, 8],
  ['bfloat16', 'bfloat16', false, 4],
] as const)(
  '%s weights, %s moments, masters %j: %i bytes a parameter',
  async (dtype, moments, masterWeights, bytes) => {
    await expectNoLeak(async () => {
      const p = parameter('w', 1000, dtype);
      const before = memory();
      const adam = new AdamW([p], { moments, masterWeights });
      expect(memory().bytes - before.bytes).toBe(1000 * bytes);
      for (let step = 0; step < 2; step++) {
        p.accumulate(tf.ones([1000]));
        adam.update(0.1);
      }
      expect([dtypeOf(p.value), memory().bytes - before.bytes]).toEqual([dtype, 1000 * bytes]);
      adam.dispose();
      p.dispose();
    });
  },
);

// ## Many parameters

test('many parameters at once move as each of them alone, whatever their sizes and dtypes', async () => {
  const kinds = fc.record({
    size: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 16380, max: 16390 })),
    dtype: fc.constantFrom('float32' as const, 'bfloat16' as const),
    decays: fc.boolean(),
  });
  const options = fc.record({
    weightDecay: fc.constantFrom(0, 0.1),
    moments: fc.constantFrom('float32' as const, 'bfloat16' as const),
    masterWeights: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(kinds, { minLength: 1, maxLength: 12 }), options, async (list, chosen) => {
      const make = ({ size, dtype, decays }: (typeof list)[number], i: number) =>
        Object.assign(parameter(`p${i}`, size, dtype), { decays });
      const alone = [];
      for (const [i, kind] of list.entries()) alone.push((await moved([make(kind, i)], chosen, 2))[0]);
      expect(await moved(list.map(make), chosen, 2)).toEqual(alone);
    }),
    { numRuns: 8 },
  );
});

// ## bfloat16

test('masters are float32 AdamW to the last bit, and weights their roundings', async () => {
  const options = { weightDecay: 0.1, masterWeights: true };
  const [wide] = await moved([parameter('w', 5000, 'float32')], options, 20);
  const [narrow] = await moved([parameter('w', 5000, 'bfloat16')], options, 20);
  const rounded = tf.tidy(() => cast(tf.tensor1d(wide as number[]), 'bfloat16'));
  expect(narrow).toEqual(Array.from(await read(rounded)));
  rounded.dispose();
});

test('of bfloat16 gradients AdamW makes what it makes of the same numbers in float32', async () => {
  for (const masterWeights of [true, false])
    for (const moments of ['float32', 'bfloat16'] as const) {
      const [narrow, wide] = (['bfloat16', 'float32'] as const).map((dtype) => parameter('w', 5000, 'bfloat16', dtype));
      const adams = [narrow, wide].map((p) => new AdamW([p as Parameter], { masterWeights, moments }));
      for (let step = 1; step <= 3; step++) {
        const g = tf.tidy(() => cast(tf.tensor1d(numbers(`g ${step}`, 5000)), 'bfloat16'));
        for (const [i, p] of [narrow, wide].entries()) {
          p?.accumulate(g.clone());
          expect(dtypeOf(p?.grad as tf.Tensor)).toBe(i === 0 ? 'bfloat16' : 'float32');
          const norm = squaredNorm([p as Parameter]);
          adams[i]?.update(0.01, { squares: norm, clip: 9 });
          norm.dispose();
        }
        g.dispose();
      }
      expect(await read((narrow as Parameter).value)).toEqual(await read((wide as Parameter).value));
      for (const owner of [...adams, narrow, wide]) owner?.dispose();
    }
});

test('masters keep steps that bfloat16 would lose; put-in weights go to them too', async () => {
  const ones = () => tf.tidy(() => cast(tf.ones([4]), 'bfloat16'));
  const p = Parameter.of('w', ones());
  const adam = new AdamW([p]);
  for (const again of [false, true]) {
    if (again) {
      p.value.dispose();
      p.value = ones();
    }
    for (let step = 1; step <= 100; step++) {
      p.accumulate(tf.ones([4]));
      adam.update(1e-4); // bfloat16 has no number between 1 and 1 - 2^-8 = 0.9961
      if (step === 1) expect(Array.from(await read(p.value))).toEqual([1, 1, 1, 1]);
    }
    for (const w of await read(p.value)) expect(w).toBe(0.98828125); // 1 - 100 · 1e-4, to the nearest in bfloat16
  }
  adam.dispose();
  p.dispose();
});

const STOCHASTIC = { masterWeights: false } as const;

test('stochastic rounding is right on average, and as likely up as the distance says', async () => {
  const count = 100000;
  const p = Parameter.of(
    'w',
    tf.tidy(() => cast(tf.ones([count]), 'bfloat16')),
  );
  const adam = new AdamW([p], STOCHASTIC);
  for (let step = 1; step <= 10; step++) {
    p.accumulate(tf.ones([count]));
    adam.update(1e-4);
    const values = Array.from(await read(p.value));
    // 1 or 1 - 2^-8 with p = 0.0256 down in one step: the mean of 100,000 is good to 2^-8 √(p/100,000) = 2e-6; later
    // values add their own, √10 as much. Five of those deviations.
    expect(Math.abs(mean(values) - (1 - step * 1e-4))).toBeLessThan(5 * 2e-6 * Math.sqrt(step));
    const down = values.reduce((sum, w) => sum + Number(w < 1), 0) / count;
    if (step === 1) expect(Math.abs(down - 1e-4 * 2 ** 8)).toBeLessThan(5 * Math.sqrt(0.0256 / count));
  }
  adam.dispose();
  p.dispose();
});

test('random bits depend on seed, name, place and step, and on nothing else', async () => {
  const count = 4096;
  const run = async (name: string, options: AdamWOptions, before = 0) => {
    const p = Parameter.of(
      name,
      tf.tidy(() => cast(tf.ones([count]), 'bfloat16')),
    );
    const adam = new AdamW([p], { ...STOCHASTIC, ...options, beta1: 0, beta2: 0 }); // no memory but the weights
    adam.step = before;
    p.accumulate(tf.ones([count]));
    adam.update(2 ** -9); // half of the distance to the next number
    const values = Array.from(await read(p.value));
    adam.dispose();
    p.dispose();
    return values;
  };
  const first = await run('w', { seed: 1 });
  expect(await run('w', { seed: 1 })).toEqual(first);
  const others = [await run('w', { seed: 2 }), await run('v', { seed: 1 }), await run('w', { seed: 1 }, 1)];
  const same = (a: number[], b: number[]) => mean(a.map((x, i) => Number(x === b[i])));
  // Independent coins agree half of the time, ± 5 · 0.5 / √4096.
  for (const other of [...others, first.slice(1), first.slice(64)])
    expect(Math.abs(same(other, first.slice(0, other.length)) - 0.5)).toBeLessThan(0.04);
});

test('NaN and infinity are NaN and infinity, rounded either way', async () => {
  for (const masterWeights of [true, false]) {
    const p = Parameter.of(
      'w',
      tf.tidy(() => cast(tf.tensor1d([Number.NaN, -3.38e38, 3.38e38, 1]), 'bfloat16')),
    );
    const adam = new AdamW([p], { masterWeights });
    p.accumulate(tf.tensor1d([0, 1, -1, 0]));
    adam.update(2e37); // and m̂ is 1
    expect(Array.from(await read(p.value))).toEqual([Number.NaN, -Infinity, Infinity, 1]);
    adam.dispose();
    p.dispose();
  }
});

test('bfloat16 moments: steps within a hundredth of those with float32 ones, on average', async () => {
  const options = { beta2: 0.999 };
  const [start, exact, rough] = [
    Array.from(await read(parameter('w', 5000, 'float32').value)),
    (await moved([parameter('w', 5000, 'float32')], options, 50))[0] as number[],
    (await moved([parameter('w', 5000, 'float32')], { ...options, moments: 'bfloat16' }, 50))[0] as number[],
  ];
  const way = exact.map((x, i) => Math.abs(x - (start[i] as number)));
  expect(mean(exact.map((x, i) => Math.abs(x - (rough[i] as number)))) / mean(way)).toBeLessThan(0.01);
  expect(largestGap(exact, rough)).toBeLessThan(0.05 * Math.max(...way));
});

test('bfloat16 v goes down too: after large gradients small ones move the weights as far as before', async () => {
  // v loses 0.1 % in a step, less than half of what bfloat16 can tell apart: to nearest it would stay where it was.
  const last = async (moments: 'float32' | 'bfloat16') => {
    const p = Parameter.of('w', tf.zeros([1000]));
    const adam = new AdamW([p], { moments, beta1: 0, beta2: 0.999 });
    for (let step = 0; step < 400; step++) {
      p.accumulate(tf.fill([1000], step === 0 ? 1 : 1e-3));
      adam.update(1e-3);
    }
    const moved = -mean(await p.value.data());
    adam.dispose();
    p.dispose();
    return moved;
  };
  expect(Math.abs((await last('bfloat16')) / (await last('float32')) - 1)).toBeLessThan(0.02);
});

// ## Clipping

test('the clip factor is computed where the gradients are, from a norm that nobody reads', async () => {
  for (const [clip, factor] of [
    [0, 1],
    [1, 0.2],
    [2.5, 0.5],
    [5, 1],
    [6, 1],
  ] as const) {
    const parameters = [Parameter.of('a', tf.tensor1d([0, 0])), Parameter.of('b', tf.tensor1d([0]))];
    const gradients = [tf.tensor1d([3, 0]), tf.tensor1d([4])];
    for (const [i, p] of parameters.entries()) p.accumulate(gradients[i] as tf.Tensor);
    const squares = squaredNorm(parameters);
    // With an epsilon of 1e6 a step is rate · gradient / 1e6, so that its size shows.
    const adam = new AdamW(parameters, { epsilon: 1e6 });
    adam.update(1e6, { squares, clip });
    const values = await Promise.all(parameters.map((p) => p.value.data()));
    const expected = [-3 * factor, 0, -4 * factor];
    for (const [i, w] of [...(values[0] as Float32Array), ...(values[1] as Float32Array)].entries())
      expect(w).toBeCloseTo(expected[i] as number, 4);
    squares.dispose();
    adam.dispose();
    for (const p of parameters) p.dispose();
  }
});
