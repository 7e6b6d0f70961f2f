/**
 * What a rank has of the model, in numbers: how many blocks, whether the ends, how many parameters.
 *
 * The same as the model on paper of traffic.ts says, in closed form: a search asks for thousands of layouts.
 */
import { headCost, stageLengths } from '@fourfold/pipeline-parallel';
import { chunksOf } from '@fourfold/settings';
import type { Job } from './traffic.ts';

/** Some consecutive blocks of the model, with its ends if they are at one. */
export interface Stage {
  /** How many. */
  readonly blocks: number;
  /** Whether it begins with the embedding. */
  readonly hasEmbedding: boolean;
  /** Whether it ends with the last norm and the output. */
  readonly hasHead: boolean;
}

/** A rank's stages of the pipeline, and the parameters in them. */
export interface Part {
  /** In the order in which a token passes them. */
  readonly stages: readonly Stage[];
  /** Elements, of this rank's share of each. */
  readonly parameters: number;
}

/** Elements of one block on a rank: its part of the matrices, of k and v a head at least, and both norms whole. */
export function blockParameters({ config: { tp }, shape }: Job): number {
  const { dim, heads, kvHeads, headDim, ffn } = shape;
  const own = (heads / tp + 2 * Math.max(1, kvHeads / tp)) * headDim + (heads / tp) * headDim; // q, k, v and o
  return dim * (own + (3 * ffn) / tp) + 2 * dim;
}

/** N, elements of the whole model's parameters; a tied embedding once. */
export function modelParameters({ config, shape }: Job): number {
  const { layers, vocabulary, dim, tied } = shape;
  const block = blockParameters({ config: { ...config, tp: 1 }, shape });
  return layers * block + dim + (tied ? 1 : 2) * vocabulary * dim;
}

/** Of each rank of the pipeline, from the first. */
export function partsOf(job: Job): Part[] {
  const { config, shape } = job;
  const [{ pp, ppBalance, tp }, chunks] = [config, chunksOf(config)];
  const lengths = stageLengths(shape.layers, pp * chunks, ppBalance === 'cost' && pp > 1 ? headCost(shape) : 0);
  const stages = lengths.map((blocks, i) => ({ blocks, hasEmbedding: i === 0, hasHead: i === lengths.length - 1 }));
  const table = (shape.vocabulary * shape.dim) / tp;
  return Array.from({ length: pp }, (_, rank) => {
    const mine = stages.filter((_, i) => i % pp === rank);
    const tables = mine.map(({ hasEmbedding, hasHead }) => {
      if (shape.tied) return hasEmbedding || hasHead ? table : 0;
      return (hasEmbedding ? table : 0) + (hasHead ? table : 0);
    });
    const blocks = mine.reduce((sum, stage) => sum + stage.blocks, 0) * blockParameters(job);
    const norm = mine.some(({ hasHead }) => hasHead) ? shape.dim : 0;
    return { stages: mine, parameters: blocks + norm + tables.reduce((a, b) => a + b, 0) };
  });
}
