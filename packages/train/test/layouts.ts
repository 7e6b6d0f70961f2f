/**
 * Layouts of ranks, and what it means that two runs are the same.
 */
import { expect } from 'vitest';
import { type Change, firstSteps, type Steps } from './run.ts';

/** kvHeads 2: with tp = 4 and 8, several ranks hold the same key and value heads. */
const shape = { dim: 32, heads: 8, kvHeads: 2, ffn: 64, seqLength: 32, microBatchSize: 1 };
/** Of a step, in every layout; more where micro-batches would have none. */
const SEQUENCES = 8;

export interface Layout {
  readonly dp: number;
  readonly pp: number;
  readonly cp: number;
  readonly tp: number;
}

/** Every dp x pp x cp x tp of so many ranks, a power of two. */
export function layoutsOf(ranks: number): Layout[] {
  const powers = [1, 2, 4, 8].filter((n) => n <= ranks);
  const pairs = powers.flatMap((a) => powers.map((b) => [a, b] as const));
  const all = pairs.flatMap(([dp, pp]) => pairs.map(([cp, tp]) => ({ dp, pp, cp, tp })));
  return all.filter(({ dp, pp, cp, tp }) => dp * pp * cp * tp === ranks);
}

const engines = [{ ppEngine: 'afab' }, { ppEngine: '1f1b' }, { ppEngine: 'interleaved', ppChunks: 2 }];

/** A layout with every fitting combination of engine, ZeRO, sequence parallelism and tied embeddings. */
export const variantsOf = (layout: Layout): Change[] =>
  (layout.pp > 1 ? engines : [{}]).flatMap((engine) =>
    (layout.dp * layout.cp > 1 ? [false, true] : [false]).flatMap((zero) =>
      (layout.tp > 1 ? [false, true] : [false]).map((sequenceParallel) => ({
        ...layout,
        ...engine,
        zero,
        sequenceParallel,
      })),
    ),
  );

/** One of a layout's variants, another one for each `turn`. */
export const variant = (layout: Layout, turn: number): Change => {
  const all = variantsOf(layout);
  return all[turn % all.length] as Change;
};

/** One layer more than stages: no pp divides them. Two micro-batches where there is a pipeline. */
function complete(change: Change): Change {
  const { pp, dp, ppEngine, ppChunks, gradAccSteps } = { ppChunks: 1, ...change } as Record<string, number>;
  const layers =
    (pp as number) > 1 ? (pp as number) * (`${ppEngine}` === 'interleaved' ? (ppChunks as number) : 1) + 1 : 2;
  const steps = gradAccSteps ?? ((pp as number) > 1 ? 2 : 1);
  return {
    ...shape,
    layers,
    ...change,
    gradAccSteps: steps,
    microBatchSize: Math.max(1, Math.floor(SEQUENCES / ((dp as number) * steps))),
  };
}

const references = new Map<string, Promise<Steps>>();

/** Runs the layout, and one rank with the same model and sequences; both must compute the same. */
export async function expectSameAsOneRank(change: Change, steps: number): Promise<void> {
  const many = complete(change);
  const { layers, tied, dp, gradAccSteps, microBatchSize } = many as Record<string, number>;
  const sequences = (dp as number) * (gradAccSteps as number) * (microBatchSize as number);
  const alone = { ...shape, layers, ...(tied === undefined ? {} : { tied }), microBatchSize: sequences };
  const key = JSON.stringify([alone, steps]);
  const reference = references.get(key) ?? firstSteps(alone, steps);
  references.set(key, reference);
  expectSame(await firstSteps(many, steps), await reference);
}

/**
 * In float32, gradients of the first step within 2e-6 of their tensor's largest element, losses within 1e-5 relative:
 * sums over ranks are taken in another order than sums over tokens, and a float32 has 24 bits.
 */
export function expectSame(ours: Steps, one: Steps): void {
  expect([...ours.gradients.keys()]).toEqual([...one.gradients.keys()]);
  for (const [name, reference] of one.gradients) {
    const gradient = ours.gradients.get(name) as Float32Array;
    let [largest, difference] = [0, 0];
    for (const [i, value] of reference.entries()) {
      largest = Math.max(largest, Math.abs(value));
      difference = Math.max(difference, Math.abs((gradient[i] as number) - value));
    }
    expect(difference / largest, name).toBeLessThan(2e-6);
  }
  for (const [i, loss] of one.losses.entries())
    expect(Math.abs((ours.losses[i] as number) / loss - 1)).toBeLessThan(1e-5);
  expect(Math.abs((ours.norms[0] as number) / (one.norms[0] as number) - 1)).toBeLessThan(1e-6);
}
