/**
 * From a stored model to what computes it: choices with their defaults, checked before any weight is read.
 */

import type { Activations, CacheFormat, WeightFormat } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import { type ComputeOptions, RankModel } from './rank-model.ts';
import { ALONE, type Ranks } from './ranks.ts';
import { heldFormat, isMatrix, shareOf } from './slices.ts';
import { BLOCKS, type StoredModel } from './stored.ts';
import { loadShare } from './weights.ts';

/** How a model is held and computed; what is left out gets a default. */
export interface ModelOptions {
  /** Sequences at once; default 1. */
  readonly slots?: number | undefined;
  /** Positions of each; default: what the model was trained for, and at most that. */
  readonly maxSeqLength?: number | undefined;
  /** The most rows of one step; default 256. More of them need more memory beside the weights: 4·(D+2F) bytes each. */
  readonly maxRows?: number | undefined;
  /** What matrices multiply; default: q80 where all of them are in blocks, else float32. */
  readonly activations?: Activations | undefined;
  /** What keys and values are kept in; default f32. */
  readonly kvCache?: CacheFormat | undefined;
  /** What matrices are converted to as they are loaded; default: they stay as they are stored. */
  readonly weights?: WeightFormat | undefined;
}

/** The options with nothing left open. All ranks of a model must have the same. */
export interface ChosenOptions extends ComputeOptions {
  /** The most rows of one step. */
  readonly maxRows: number;
  /** What matrices are converted to as they are loaded; undefined: they stay as they are. */
  readonly weights: WeightFormat | undefined;
}

/** Formats of a model's matrices once they are loaded. */
export const matrixFormats = ({ tensors }: Pick<StoredModel, 'tensors'>, weights?: WeightFormat): Set<WeightFormat> =>
  new Set([...tensors].flatMap(([name, tensor]) => (isMatrix(name) ? [heldFormat(name, tensor, weights)] : [])));

/** Whether any matrix is in blocks, between which alone it is cut. */
export const inBlocks = (model: Pick<StoredModel, 'tensors'>, weights?: WeightFormat): boolean =>
  [...matrixFormats(model, weights)].some((format) => BLOCKS[format].weights > 1);

/**
 * Fills in what is left open.
 *
 * @throws UserError, a sentence that names the option
 */
export function chooseOptions(model: StoredModel, options: ModelOptions = {}): ChosenOptions {
  const { maxPositions } = model.shape;
  const { slots = 1, maxSeqLength = maxPositions, maxRows = 256, kvCache = 'f32', weights } = options;
  checkCount('slots', slots, 4096);
  checkCount('maxRows', maxRows, 65536);
  checkCount('maxSeqLength', maxSeqLength, maxPositions);
  const isAllBlocks = [...matrixFormats(model, weights)].every((format) => BLOCKS[format].weights > 1);
  const activations = options.activations ?? (isAllBlocks ? 'q80' : 'float32');
  return { slots, maxSeqLength, maxRows, kvCache, weights, activations };
}

function checkCount(key: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= most) return;
  throw new UserError(`${key}=${value}: it takes a whole number from 1 to ${most}`);
}

/** Loads what one of the ranks computes with. Throws UserError where so many ranks can't share the model. */
export function loadRank(model: StoredModel, options: ChosenOptions, ranks: Ranks = ALONE): RankModel {
  const share = shareOf(model.shape, ranks.rank, ranks.size, inBlocks(model, options.weights));
  return new RankModel(model, loadShare(model, share, options.weights), share, ranks, options);
}
