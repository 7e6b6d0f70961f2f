/**
 * The memory that a shared model takes on each rank, before anything is loaded.
 *
 *     weights     this rank's share, in the formats in which they are held (slices.ts)
 *     caches      2 · L · slots · positions · G/n · K numbers: keys and values of all past tokens
 *
 * Beside them a rank has what a step computes with, 4·(D + 2F) bytes a row, and the program itself.
 */
import { type ChosenOptions, inBlocks } from './load.ts';
import { bytesOfShare, shareOf } from './slices.ts';
import { bytesOf, lengthOf, type StoredModel } from './stored.ts';

/** In bytes. */
export interface RankMemory {
  /** Its share of the weights. */
  readonly weights: number;
  /** Keys and values of its heads, for every position of every slot. */
  readonly caches: number;
}

/** By rank. Throws UserError where so many ranks can't share the model. */
export function memoryOf(
  model: Pick<StoredModel, 'shape' | 'tensors'>,
  { weights, slots, maxSeqLength, kvCache }: ChosenOptions,
  ranks: number,
): RankMemory[] {
  const { shape } = model;
  return Array.from({ length: ranks }, (_, rank) => {
    const share = shareOf(shape, rank, ranks, inBlocks(model, weights));
    const numbers = 2 * shape.layers * slots * maxSeqLength * lengthOf(share.kvHeads) * shape.headDim;
    return { weights: bytesOfShare(model, share, weights), caches: bytesOf(kvCache, numbers) };
  });
}
