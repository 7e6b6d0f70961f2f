/**
 * Which part of a model each of n ranks holds.
 *
 *     q, k, v        rows: whole heads of q, and the heads of k and v that those read
 *     o              columns: those of its heads
 *     gate, up       rows of the feed-forward, in units of 32; of an expert's likewise: every rank computes a part of
 *     down           columns: the same units                                       every expert that a token chose
 *     output         rows of the vocabulary
 *     norms, router  all
 *     embedding      none: a token needs one row of it, which is read from the file
 *
 * A part of every residual branch is then complete after a sum over the ranks: two sums a layer. Nothing need divide
 * anything: nine heads on two ranks are five and four. What a rank's heads read may begin amid a group:
 *
 *     heads of q     0  1  2 | 3  4  5 | 6  7  8        groups of three share a head of k and v: 0, 1, 2
 *     rank 0         0  1  2   3  4                     reads kv 0 and 1, headOffset 0
 *     rank 1                         5   6  7  8        reads kv 1 and 2, headOffset 2: head 5 is the third of kv 1's
 *
 * kv head 1 is then on both ranks: more ranks than kv heads work too.
 *
 * Shoeybi et al., "Megatron-LM" (2019), without its wish for divisors.
 */

import type { WeightFormat } from '@fourfold/ops';
import { UserError } from '@fourfold/runtime/errors';
import type { ModelShape } from './shape.ts';
import { bytesOf, lengthOf, type Part, type Span, type StoredModel, type StoredTensor } from './stored.ts';

/** What one rank holds of a model. */
export interface Share {
  /** This rank, from 0. */
  readonly rank: number;
  /** How many share the model. */
  readonly ranks: number;
  /** Its query heads. */
  readonly heads: Span;
  /** The key and value heads that these read. */
  readonly kvHeads: Span;
  /** How many heads of its first kv head's group come before its first: local head h reads kv (h + offset) / group. */
  readonly headOffset: number;
  /** Its part of F. */
  readonly ffn: Span;
  /** Its rows of the matrix that makes logits. */
  readonly vocabulary: Span;
}

/** Part `index` of `of` parts of so many, as even as can be: none is larger than the first. */
export function evenPart(count: number, index: number, of: number): Span {
  return [Math.ceil((count * index) / of), Math.ceil((count * (index + 1)) / of)];
}

// Quantized weights are cut between their blocks.
const UNIT = 32;

/**
 * What rank `rank` of `ranks` holds.
 *
 * @param inBlocks whether matrices are in blocks of 32, between which alone they are cut
 * @throws UserError where so many ranks can't share the model, with the numbers that can
 */
export function shareOf(shape: ModelShape, rank: number, ranks: number, inBlocks: boolean): Share {
  checkRanks(shape, ranks, inBlocks);
  const { heads, ffn, vocabulary } = shape;
  const group = heads / shape.kvHeads;
  const own = evenPart(heads, rank, ranks);
  const kvHeads: Span = [Math.floor(own[0] / group), Math.ceil(own[1] / group)];
  const unit = unitOf(shape, ranks, inBlocks);
  const [from, to] = evenPart(ffn / unit, rank, ranks);
  return {
    ...{ rank, ranks, heads: own, kvHeads, headOffset: own[0] - kvHeads[0] * group },
    ...{ ffn: [from * unit, to * unit], vocabulary: evenPart(vocabulary, rank, ranks) },
  };
}

/** Columns of the feed-forward that stay together: a block, or one where there are no blocks and few columns. */
const unitOf = ({ ffn }: ModelShape, ranks: number, inBlocks: boolean): number =>
  inBlocks || (ffn % UNIT === 0 && ffn >= UNIT * ranks) ? UNIT : 1;

/** Throws UserError for a number of ranks that can't share a model, with those that can. */
export function checkRanks(shape: ModelShape, ranks: number, inBlocks: boolean): void {
  const { heads, headDim, ffn, vocabulary } = shape;
  if (inBlocks && ranks > 1 && headDim % UNIT !== 0)
    throw new UserError(`ranks=${ranks}: heads of ${headDim} numbers can't be cut between blocks of ${UNIT}: use 1`);
  const most = Math.min(heads, vocabulary, inBlocks ? Math.floor(ffn / UNIT) : ffn);
  if (Number.isInteger(ranks) && ranks >= 1 && ranks <= most) return;
  const limit = most === heads ? `${heads} heads` : `feed-forward of ${ffn}`;
  throw new UserError(`ranks=${ranks} can't share the model's ${limit}: use ${most === 1 ? 1 : `1 to ${most}`}`);
}

/** The part of a tensor that a rank holds; undefined: it holds none of it. */
export function partOf(name: string, { headDim, tied }: ModelShape, share: Share): Part | undefined {
  const wide = ([from, to]: Span): Span => [from * headDim, to * headDim];
  if (/\.q_proj\.weight$/.test(name)) return { rows: wide(share.heads) };
  if (/\.[kv]_proj\.weight$/.test(name)) return { rows: wide(share.kvHeads) };
  if (/\.o_proj\.weight$/.test(name)) return { columns: wide(share.heads) };
  if (/\.(gate|up)_proj\.weight$/.test(name)) return { rows: share.ffn };
  if (/\.down_proj\.weight$/.test(name)) return { columns: share.ffn };
  if (name === headName({ tied })) return { rows: share.vocabulary };
  return name === EMBEDDING ? undefined : {};
}

/** The name of the embedding's matrix. */
export const EMBEDDING = 'model.embed_tokens.weight';
/** The matrix that makes logits: a tied model's is its embedding. */
export const headName = ({ tied }: Pick<ModelShape, 'tied'>): string => (tied ? EMBEDDING : 'lm_head.weight');

// ## Bytes

/** Whether a tensor is one of the matrices that the kernels multiply by in blocks: not a norm, not a router. */
export const isMatrix = (name: string): boolean => /(_proj|embed_tokens|lm_head)\.weight$/.test(name);

/** What a tensor is held in: the file's format, or that which matrices are converted to. Norms and routers: float32. */
export const heldFormat = (name: string, { format }: StoredTensor, weights?: WeightFormat): WeightFormat =>
  isMatrix(name) ? (weights ?? format) : 'f32';

/** The matrices that lie in memory as one, for they multiply the same x: q, k, v; gate, up; all experts' of each. */
const productOf = (name: string): string =>
  name
    .replace(/\.experts\.\d+\./, '.experts.')
    .replace(/\.[qkv]_proj\./, '.qkv.')
    .replace(/\.(gate|up)_proj\./, '.gate-up.');

/** The bytes of a rank's weights in memory. Matrices of different formats that share a product are float32 there. */
export function bytesOfShare(
  { shape, tensors }: Pick<StoredModel, 'shape' | 'tensors'>,
  share: Share,
  weights?: WeightFormat,
) {
  const formats = new Map<string, Set<WeightFormat>>();
  for (const [name, tensor] of tensors) {
    const own = formats.get(productOf(name)) ?? new Set();
    formats.set(productOf(name), own.add(heldFormat(name, tensor, weights)));
  }
  let bytes = 0;
  for (const [name, tensor] of tensors) {
    const part = partOf(name, shape, share);
    if (!part) continue;
    const weightsOfPart =
      lengthOf(part.rows ?? [0, tensor.shape[0] as number]) * lengthOf(part.columns ?? [0, tensor.shape[1] ?? 1]);
    const isMixed = (formats.get(productOf(name))?.size ?? 0) > 1;
    bytes += bytesOf(isMixed ? 'f32' : heldFormat(name, tensor, weights), weightsOfPart);
  }
  return bytes;
}
