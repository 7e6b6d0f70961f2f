/** Buckets: what is in them, when they go, in what precision, what they cost, and what stops them. */
import { Parameter } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { BYTES, cast, dtypeOf, openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { bucketedDataParallel, naiveDataParallel } from '../src/data-parallel.ts';
import {
  accumulate,
  backward,
  disposeAll,
  isZero,
  modelOf,
  parametersOf,
  sentOf,
  VERSIONS,
  type Version,
  valuesOf,
} from './ranks.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

// ## Overlap

/** Notes in `events` every gradient that arrives, and every collective with its elements at the moment it starts. */
function watch(parameters: readonly Parameter[], group: ProcessGroup, events: string[]): void {
  for (const parameter of parameters) {
    const { onAccumulate } = parameter;
    parameter.onAccumulate = () => {
      events.push(parameter.name);
      onAccumulate?.();
    };
  }
  const { allReduce, reduceScatter } = group;
  group.allReduce = (x, ...options) => {
    events.push(`allReduce ${dtypeOf(x)} ${x.size}`);
    return allReduce.call(group, x, ...options);
  };
  group.reduceScatter = (x, ...options) => {
    events.push(`reduceScatter ${dtypeOf(x)} ${x.size}`);
    return reduceScatter.call(group, x, ...options);
  };
}

const isCollective = (event: string): boolean => event.startsWith('allReduce') || event.startsWith('reduceScatter');

/** What happens on each of two ranks between the first micro-batch and the end of reduced(). */
const eventsOf = (version: Version, tied: boolean, gradAccSteps: number): Promise<string[][]> =>
  spmd(2, async (group) => {
    const model = modelOf(tied, 'bfloat16');
    const dataParallel = VERSIONS[version](model.parameters, group, gradAccSteps);
    const events: string[] = [];
    watch(model.parameters, group, events); // adds to what dataParallel has set
    await backward(model, group, 0, gradAccSteps);
    events.push('backward has ended');
    await dataParallel.reduced();
    for (const { grad } of dataParallel.updated) expect(dtypeOf(grad as tf.Tensor)).toBe('float32');
    disposeAll(dataParallel.updated, model.parameters);
    return events;
  });

describe.each([{ tied: true }, { tied: false }])('nano in bfloat16, tied: $tied', ({ tied }) => {
  /** Each parameter's name and elements, in the order in which backward finishes them. */
  const inBackwardsOrder = (events: readonly string[]): string[] => {
    const names = events.slice(0, events.indexOf('backward has ended')).filter((event) => !isCollective(event));
    return [...new Set([...names].reverse())].reverse(); // each where it comes last
  };

  test.each(['a bucket for each', 'ZeRO, a bucket for each'] as const)(
    '%s: every float32 gradient goes at once when its last accumulation is done, and only then',
    async (version) => {
      const [events, others] = (await eventsOf(version, tied, 3)) as [string[], string[]];
      expect(others).toEqual(events);
      const model = modelOf(tied);
      const sizes = new Map(model.parameters.map(({ name, value }) => [name, value.size]));
      disposeAll(model.parameters);
      const operation = isZero(version) ? 'reduceScatter' : 'allReduce';
      const order = inBackwardsOrder(events);
      const expected = order.flatMap((name) => [name, `${operation} float32 ${sizes.get(name)}`]);
      const first = events.findIndex(isCollective);
      expect(events.slice(first).filter(isCollective)).toHaveLength(sizes.size); // not x 3
      // From the first collective on, each gradient of the last micro-batch and its collective are neighbours; a tied
      // head's gradient comes early and waits for the embedding's.
      const rest = events.slice(first - 1, events.indexOf('backward has ended'));
      expect(rest).toEqual(expected);
      // The order of layers: the head or the norm first, layer 1 before layer 0, the embedding last.
      const layers = order.map((name) => Number(/layers\.(\d+)/.exec(name)?.[1] ?? (name.includes('embed') ? -1 : 2)));
      expect(layers).toEqual([...layers].sort((a, b) => b - a));
    },
  );

  // 20 kB: each matrix has a bucket of its own, but k and v share one; all norms share one.
  test.each([
    { version: 'naive', count: 20, during: 0 },
    { version: 'default buckets', count: 2, during: 2 },
    { version: 'buckets of 20 kB', count: 14, during: 14 },
    { version: 'ZeRO, buckets of 20 kB', count: 14, during: 14 },
  ] as const)(
    '$version: $count collectives, $during of them while backward goes on',
    async ({ version, ...tiedOnes }) => {
      const extra = tied || version === 'default buckets' ? 0 : 1; // the head
      const [events, others] = (await eventsOf(version, tied, 2)) as [string[], string[]];
      expect(others).toEqual(events);
      const end = events.indexOf('backward has ended');
      expect(events.filter(isCollective)).toHaveLength(tiedOnes.count + extra);
      expect(events.slice(0, end).filter(isCollective)).toHaveLength(tiedOnes.during && tiedOnes.during + extra);
      if (tiedOnes.during < 3) return;
      // Of the last micro-batch's 21 gradients the first one waits for three: the head's, the norm's and down_proj's.
      expect(events.findIndex(isCollective)).toBe(tied ? 21 + 3 : 21 + 1);
    },
  );
});

// ## Precision

test.each(Object.keys(VERSIONS) as Version[])(
  '%s: bfloat16 weights, but gradients are added up in float32',
  async (version) => {
    await spmd(2, async (group) => {
      const weight = Parameter.of(
        'w',
        tf.tidy(() => cast(tf.ones([3]), 'bfloat16')),
      );
      const dataParallel = VERSIONS[version]([weight], group, 257);
      // 1 on rank 0, and then 256 times 1/512: bfloat16, 8 bits wide, would stay at 1. On rank 1 nearly nothing.
      const gradient = (i: number) => (group.rank === 0 ? (i === 0 ? 1 : 1 / 512) : 2 ** -20 / 257);
      for (let i = 0; i < 257; i++) weight.accumulate(tf.tidy(() => cast(tf.fill([3], gradient(i)), 'bfloat16')));
      await dataParallel.reduced();
      const values = await valuesOf(dataParallel.updated.map(({ grad }) => grad as tf.Tensor));
      expect(dataParallel.updated.map(({ grad }) => dtypeOf(grad as tf.Tensor))).toEqual(['float32']);
      const [mean = 0] = values[0] as Float32Array;
      expect(Math.abs(mean - (1.5 + 2 ** -20) / 2)).toBeLessThanOrEqual(2 ** -24); // half a rounding
      expect(mean).toBeGreaterThan(0.75);
      disposeAll(dataParallel.updated, [weight]);
    });
  },
);

// ## What goes wrong

const two = () => parametersOf({ first: [2, 3], second: [4, 3] });

test('a gradient that never came is missed, by its name, and nothing hangs', async () => {
  const run = (gradients: (both: Parameter[]) => void) =>
    spmd(2, async (group) => {
      const both = two();
      const { reduced } = bucketedDataParallel(both, group, { backwards: 3 });
      gradients(both);
      await reduced();
    });
  const all = 'gradients are missing: 3 of 3 of second, 3 of 3 of first';
  await expect(run(() => {})).rejects.toThrow(new Error(all)); // backward has not run
  const backwards = (some: Parameter[], times: number) => {
    for (let i = 0; i < times; i++) accumulate(some, `${i}`);
  };
  const frozen = ([first]: Parameter[]) => backwards([first as Parameter], 3);
  await expect(run(frozen)).rejects.toThrow(new Error('gradients are missing: 3 of 3 of second'));
  const oneShort = (both: Parameter[]) => backwards(both, 2);
  await expect(run(oneShort)).rejects.toThrow(new Error('gradients are missing: 1 of 3 of second, 1 of 3 of first'));
  const naive = spmd(2, (group) => naiveDataParallel(two(), group).reduced());
  await expect(naive).rejects.toThrow(new Error('first has no gradient to reduce'));
});

test('one gradient too many is an error, not a second reduction', async () => {
  await spmd(1, async (group) => {
    const [only] = two() as [Parameter];
    only.partial = group;
    bucketedDataParallel([only], group, { backwards: 2 });
    accumulate([only], '1');
    accumulate([only], '2');
    expect(() => accumulate([only], '3')).toThrow(new Error('first gets more than 2 gradients in a step'));
  });
});

test('a parameter with two uses waits for both', async () => {
  await spmd(2, async (group) => {
    const [tied] = two() as [Parameter];
    tied.uses = 2;
    const { reduced } = bucketedDataParallel([tied], group, { backwards: 1 });
    tied.accumulate(tf.fill([2, 3], 1));
    await expect(reduced()).rejects.toThrow(new Error('gradients are missing: 1 of 2 of first'));
    tied.accumulate(tf.fill([2, 3], 2 + group.rank));
    await reduced();
    expect([...((await valuesOf([tied.grad as tf.Tensor]))[0] as Float32Array)]).toEqual(Array(6).fill(3.5));
    disposeAll([tied]);
  });
});

// ## What it costs

/** Elements of nano's norms and of its matrices; 2 and 4 divide those of each bucket. */
const [NORMS, MATRICES] = [2 * 2 * 64 + 64, 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 192 * 64) + 61 * 64];

describe.each([
  ['float32', 'float32'],
  ['bfloat16', 'float32'],
  ['bfloat16', 'bfloat16'],
] as const)('%s, matrices’ gradients %s', (dtype, gradDtype) => {
  const sizes = dtype === 'float32' ? [2, 3, 4] : [4];
  test.each((Object.keys(VERSIONS) as Version[]).flatMap((version) => sizes.map((ranks) => ({ version, ranks }))))(
    '$version, $ranks ranks: bytes() is what the recorder counts, and what arithmetic says',
    async ({ version, ranks }) => {
      const predicted = await spmd(ranks, async (group) => {
        const model = modelOf(true, dtype, gradDtype);
        const { updated, reduced, gathered, bytes } = VERSIONS[version](model.parameters, group, 1);
        for (const one of model.parameters)
          for (let use = 0; use < one.uses; use++) one.accumulate(tf.zeros([...one.shape]));
        await reduced();
        await gathered();
        disposeAll(updated, model.parameters);
        expect(bytes()).toEqual(sentOf(group));
        return bytes()['world'] as number;
      });
      // 2 (n-1)/n of the gradients: half of it on the way to the sums, half on the way back, where ZeRO sends weights.
      const there = { norms: 4, matrices: BYTES[gradDtype] };
      const back = isZero(version) ? { norms: BYTES[dtype], matrices: BYTES[dtype] } : there;
      const bytes = NORMS * (there.norms + back.norms) + MATRICES * (there.matrices + back.matrices);
      const together = (ranks - 1) * bytes;
      if (ranks !== 3) expect(predicted).toEqual(Array(ranks).fill(together / ranks));
      else
        expect(Math.abs(predicted.reduce((a, b) => a + b) / together - 1)).toBeLessThan(isZero(version) ? 1e-3 : 1e-12);
    },
  );
});

test.each(Object.keys(VERSIONS) as Version[])('%s: gradients in bfloat16 are the mean’s roundings', async (version) => {
  const means = await spmd(2, async (group) => {
    const weight = new Parameter('w', [2, 4], 'bfloat16');
    weight.value = tf.tidy(() => cast(tf.ones([2, 4]), 'bfloat16'));
    const { updated, reduced, wholeGradients } = VERSIONS[version]([weight], group, 1);
    weight.accumulate(tf.fill([2, 4], group.rank === 0 ? 1 + 2 ** -7 : 1)); // both are bfloat16's, their mean is not
    await reduced();
    expect(dtypeOf((updated[0] as Parameter).grad as tf.Tensor)).toBe('bfloat16');
    const [whole] = [...(await wholeGradients()).values()] as [tf.Tensor];
    const [values] = await valuesOf([whole]);
    whole.dispose();
    disposeAll(updated, [weight]);
    return [...new Set(values)];
  });
  expect(means).toEqual([[1], [1]]); // ties go to the even one
});

/** Trains so many steps, and returns what may be alive afterwards. */
const afterSteps = (version: Version, steps: number): Promise<Parameter[]> =>
  spmd(3, async (group) => {
    const parameters = parametersOf({ a: [5, 4], b: [7], c: [40, 90], d: [1] });
    const { updated, reduced, gathered } = VERSIONS[version](parameters, group, 2);
    for (let step = 0; step < steps; step++) {
      for (const microBatch of [0, 1]) accumulate(parameters, `${step} ${microBatch} ${group.rank}`);
      await reduced();
      for (const one of updated) one.clearGradient();
      await gathered();
    }
    return [...parameters, ...updated];
  }).then((ranks) => ranks.flat());

test.each(Object.keys(VERSIONS) as Version[])('%s: five steps leave nothing behind', async (version) => {
  await expectNoLeak(async () => {
    const one = await afterSteps(version, 1);
    await expectNoLeak(async () => disposeAll(await afterSteps(version, 5)));
    disposeAll(one);
  });
});
