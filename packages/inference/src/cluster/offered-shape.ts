/**
 * A model's shape as a root offers it, before a worker allocates anything by it.
 *
 *     q             heads · headDim numbers, which kvHeads divides into groups
 *     a tensor      at most 2^36 weights: Llama 3.1 405B's largest has 2^31
 *     the caches    slots · positions · kvHeads · headDim · 2 · layers, at most 2^42 numbers
 *     a step        maxRows · the widest row, at most 2^36 numbers
 *
 * The root has checked the shape when it opened the model. But a worker believes nothing that it reads from a socket:
 * each number is bounded, and so is what they come to when they are multiplied.
 */
import { RunError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import type { ChosenOptions } from '../load.ts';
import { type ModelShape, tensorShapes } from '../shape.ts';

const count = z
  .int()
  .min(1)
  .max(2 ** 31);
const factor = z.number().gt(0).max(1e12);

const experts = z.object({ count: count.max(4096), active: count.max(4096), normalized: z.boolean() });
const ropeScaling = z.object({
  ...{ factor, lowFrequencyFactor: factor, highFrequencyFactor: factor, originalMaxPositions: count },
});

/** Every key of ModelShape; one that isn't known here is refused, for it would mean something there. */
export const offeredShape = z.strictObject({
  architecture: z.enum(['llama', 'mistral', 'qwen3', 'mixtral', 'qwen3_moe', 'grok-1']),
  ...{ layers: count.max(4096), dim: count, heads: count.max(65536), kvHeads: count.max(65536) },
  ...{ headDim: count.max(65536), ffn: count, vocabulary: count, theta: factor, normEpsilon: factor.max(1) },
  ...{ tied: z.boolean(), qkNorm: z.boolean(), maxPositions: count, window: count.optional() },
  ...{ ropeScaling: ropeScaling.optional(), experts: experts.optional() },
  grok: z.object({ embeddingScale: factor, logitScale: factor, scoreCap: factor }).optional(),
});

const MOST_WEIGHTS = 2 ** 36;
const MOST_CACHED = 2 ** 42;

/**
 * Whether the sizes fit together and stay within bounds.
 *
 * @throws RunError, a sentence that names the sizes which don't
 */
export function checkSizes(shape: ModelShape, { slots, maxSeqLength, maxRows }: ChosenOptions): void {
  const { heads, kvHeads, headDim, layers, maxPositions, experts: several } = shape;
  const refuse = (why: string): never => {
    throw new RunError(`the offer makes no sense: ${why}`);
  };
  if (heads % kvHeads !== 0) refuse(`${heads} heads can't share ${kvHeads} heads of keys and values`);
  if (headDim % 2 !== 0) refuse(`a head of ${headDim} numbers can't be turned in pairs`);
  if (several && several.active > several.count) refuse(`${several.active} of ${several.count} experts`);
  if (maxSeqLength > maxPositions)
    refuse(`sequences of ${maxSeqLength}, where the model has ${maxPositions} positions`);
  // One layer and one expert stand for all: a list of every tensor could be long in itself.
  const tensors = tensorShapes({ ...shape, layers: 1, ...(several ? { experts: { ...several, count: 1 } } : {}) });
  for (const [name, sides] of tensors)
    if (sides.reduce((a, b) => a * b) > MOST_WEIGHTS) refuse(`${name} of ${sides.join(' x ')} weights`);
  const cached = slots * maxSeqLength * kvHeads * headDim * 2 * layers;
  if (cached > MOST_CACHED) refuse(`caches of ${cached} numbers`);
  const widest = Math.max(...[...tensors.values()].flat());
  if (maxRows * widest > MOST_WEIGHTS) refuse(`steps of ${maxRows} rows of ${widest} numbers`);
}
