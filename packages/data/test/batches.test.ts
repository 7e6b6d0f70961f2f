import { UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { atPositions, batchAt, sequencesOf, validationBatches, windowsOf } from '../src/batches.ts';
import type { Tokens } from '../src/tokens.ts';

/** A text whose token at place i is i, so that a batch says where it was read. */
function countingTokens(count: number): Tokens {
  const read = (start: number, length: number) => {
    if (start < 0 || start + length > count) throw new RangeError(`${start}+${length} of ${count}`);
    return Int32Array.from({ length }, (_, i) => start + i);
  };
  return { part: 'train', count, bytes: count, read };
}

/** The first token of every sequence. */
const startsOf = ({ inputs_BT, shape }: ReturnType<typeof batchAt>) =>
  Array.from({ length: shape[0] }, (_, b) => inputs_BT[b * shape[1]]);

test('targets are the inputs, one token further', () => {
  const batch = batchAt({ tokens: countingTokens(101), seqLength: 10, sequencesPerStep: 4, seed: 1, step: 0 });
  expect(batch.shape).toEqual([4, 10]);
  expect(Array.from(batch.targets_BT)).toEqual(Array.from(batch.inputs_BT, (token) => token + 1));
  for (const start of startsOf(batch)) expect((start ?? 1) % 10).toBe(0);
});

test('an epoch reads every sequence once before any is repeated, steps across its end included', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(),
      (windows, seqLength, sequencesPerStep, seed) => {
        const tokens = countingTokens(windows * seqLength + 1);
        const steps = Math.ceil((3 * windows) / sequencesPerStep);
        const line = Array.from({ length: steps }, (_, step) =>
          startsOf(batchAt({ tokens, seqLength, sequencesPerStep, seed, step })),
        ).flat();
        for (let epoch = 0; epoch < 3; epoch++) {
          expect(new Set(line.slice(epoch * windows, (epoch + 1) * windows)).size).toBe(windows);
        }
      },
    ),
  );
});

test('epochs and seeds have orders of their own', () => {
  const at = (seed: number, step: number) =>
    startsOf(batchAt({ tokens: countingTokens(401), seqLength: 10, sequencesPerStep: 40, seed, step }));
  expect(at(1, 0)).not.toEqual(at(1, 1));
  expect(at(1, 0)).not.toEqual(at(2, 0));
});

test('the last sequences of a step and of a text that does not divide are read within the text', () => {
  const tokens = countingTokens(35); // 3 sequences of 10 and 4 tokens over
  const starts = startsOf(batchAt({ tokens, seqLength: 10, sequencesPerStep: 3, seed: 1, step: 0 }));
  expect(starts.sort()).toEqual([0, 10, 20]);
});

test('every layout with the same product trains on the same sequences, and its ranks share none', () => {
  const layouts = fc.constantFrom<[dp: number, microBatchSize: number, gradAccSteps: number][]>(
    [1, 12, 1],
    [1, 1, 12],
    [2, 3, 2],
    [3, 2, 2],
    [12, 1, 1],
    [4, 1, 3],
  );
  fc.assert(
    fc.property(layouts, fc.nat(1000), fc.nat(), ([dp, microBatchSize, gradAccSteps], step, seed) => {
      const request = { tokens: countingTokens(1001), seqLength: 8, sequencesPerStep: 12, seed, step };
      const parts = Array.from({ length: dp }, (_, dpRank) =>
        sequencesOf({ dp, dpRank, microBatchSize, gradAccSteps }).map((sequences) => {
          expect(sequences.length).toBe(microBatchSize);
          return startsOf(batchAt({ ...request, sequences }));
        }),
      );
      for (const rank of parts) expect(rank.length).toBe(gradAccSteps);
      // Micro-step by micro-step and rank by rank, the parts are the global batch in its order.
      const joined = Array.from({ length: gradAccSteps }, (_, micro) => parts.flatMap((rank) => rank[micro])).flat();
      expect(joined).toEqual(startsOf(batchAt(request)));
    }),
  );
});

test('at some positions: of each sequence these tokens and their targets, in the order asked for', () => {
  const batch = {
    inputs_BT: Int32Array.of(10, 11, 12, 13, 20, 21, 22, 23),
    targets_BT: Int32Array.of(11, 12, 13, 99, 21, 22, 23, 98),
    shape: [2, 4] as const,
  };
  expect(atPositions(batch, Int32Array.of(0, 3))).toEqual({
    inputs_BT: Int32Array.of(10, 13, 20, 23),
    targets_BT: Int32Array.of(11, 99, 21, 98),
    shape: [2, 2],
  });
  expect(atPositions(batch, Int32Array.of(2)).inputs_BT).toEqual(Int32Array.of(12, 22));
  expect(atPositions(batch, Int32Array.of(2, 1)).targets_BT).toEqual(Int32Array.of(13, 12, 23, 22));
});

test('positions dealt out to ranks leave no token out and take none twice, and all of them are the batch', () => {
  const sizes = fc.record({ B: fc.integer({ min: 1, max: 4 }), length: fc.integer({ min: 1, max: 5 }), cp: fc.nat(3) });
  fc.assert(
    fc.property(sizes, fc.infiniteStream(fc.nat()), ({ B, length, cp }, keys) => {
      const T = (cp + 1) * length;
      const tokens = countingTokens(10 * T + 1);
      const batch = batchAt({ tokens, seqLength: T, sequencesPerStep: B, seed: 1, step: 0 });
      const all = Int32Array.from({ length: T }, (_, t) => t);
      expect(atPositions(batch, all)).toEqual(batch);
      const order = new Map(Array.from(all, (t) => [t, keys.next().value as number]));
      const dealt = all.slice().sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
      const parts = Array.from({ length: cp + 1 }, (_, r) =>
        atPositions(batch, dealt.slice(r * length, (r + 1) * length)),
      );
      for (const key of ['inputs_BT', 'targets_BT'] as const) {
        const taken = parts.flatMap((part) => Array.from(part[key]));
        expect(taken.sort((a, b) => a - b)).toEqual(Array.from(batch[key]).sort((a, b) => a - b));
      }
      for (const { inputs_BT, targets_BT } of parts) // the token of place i is i
        expect(targets_BT).toEqual(inputs_BT.map((token) => token + 1));
    }),
  );
});

test('a resumed run reads what the uninterrupted one would have', () => {
  const request = { tokens: countingTokens(500), seqLength: 7, sequencesPerStep: 5, seed: 9 };
  const whole = Array.from({ length: 40 }, (_, step) => batchAt({ ...request, step }).inputs_BT);
  for (let step = 39; step >= 20; step--) expect(batchAt({ ...request, step }).inputs_BT).toEqual(whole[step]);
});

test('validation goes through the text in order, up to a limit, with a short last batch', () => {
  const tokens = countingTokens(75);
  const starts = (maxSequences?: number) =>
    [...validationBatches({ tokens, seqLength: 10, microBatchSize: 3, ...(maxSequences ? { maxSequences } : {}) })].map(
      startsOf,
    );
  expect(starts()).toEqual([[0, 10, 20], [30, 40, 50], [60]]);
  expect(starts(4)).toEqual([[0, 10, 20], [30]]);
});

test('a sequence longer than the text is refused with the length that would do', () => {
  expect(windowsOf(countingTokens(11), 10)).toBe(1);
  expect(windowsOf(countingTokens(21), 10)).toBe(2);
  const refused = () => batchAt({ tokens: countingTokens(10), seqLength: 10, sequencesPerStep: 1, seed: 1, step: 0 });
  expect(refused).toThrow(UserError);
  expect(refused).toThrow(
    'seqLength=10 needs 11 tokens, more than the train part of the text, which has 10 tokens: use at most 9',
  );
  expect(() => windowsOf(countingTokens(0), 10)).toThrow('which has 0 tokens: give more text');
});
