/**
 * Tensor parallelism: every matrix is split over the ranks of a group, which compute each layer together.
 *
 *          x_ND                  the same on all ranks
 *     f  ───┴───                 forward: nothing      backward: all-reduce
 *      rank 0   rank 1
 *      W₀ᵀ      W₁ᵀ              column parallel: each rank has some of the outputs (its heads, its part of F)
 *      y_NFt    y_NFt
 *      act      act              heads and SwiGLU work on their own part; nothing is exchanged
 *      V₀ᵀ      V₁ᵀ              row parallel: each rank has the rows for its inputs, so its product is a partial sum
 *     g  ───┬───                 forward: all-reduce   backward: nothing
 *          y_ND                  the same on all ranks
 *
 * f and g are each the other's backward: where x was given to all, its gradient is the sum of what all found; where a
 * sum was taken, all get its gradient. A block is two such pairs (attention, feed-forward), so it costs two all-reduces
 * forward and two backward, of N·D elements each: 2 (n-1)/n of that many bytes a rank and all-reduce. Weights, their
 * gradients and their moments take 1/n of the memory.
 *
 * Sequence parallelism (Korthikanti et al.). Between g and the next f all ranks hold and normalize the same tokens.
 * Instead each can keep N/n of them: g's sum is then scattered, f gathers. The bytes are the same (an all-reduce is a
 * reduce-scatter and an all-gather), and the residual stream takes 1/n of the memory. Since nobody keeps what f has
 * gathered, backward gathers it once more: five all-reduces' worth a block instead of four.
 *
 * N tokens, D model, F feed-forward, V vocabulary; a small t after a dimension: split over the group. The ranks are
 * tp0, tp1, ... of the mesh.
 *
 * Shoeybi et al., "Megatron-LM" (2019); Korthikanti et al., "Reducing activation recomputation in large transformer
 * models" (2022).
 */
import type { Llama, LlamaConfig } from '@fourfold/model';
// biome-ignore format: a list
import {
  accumulateProduct, chain, crossEntropy, type Embedding, embedding, kernels, type Layer, type Loss, linear,
  logitGradient, logitStatistics, type Parameter, pullback, pullbackThrough, type SoftmaxLoss, stacked, wordsOf,
} from '@fourfold/ops';
import { allGatherBytes, allReduceBytes, type ProcessGroup } from '@fourfold/process-group';
import { BYTES, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

const { matmul, share } = kernels;

// ## f and g
//
// Both are made of the same two steps, forward and backward exchanged: all tokens to every rank, and the ranks' sum.

/** How tokens cross between what every rank computes and what the group computes together. Results are the caller's. */
export interface Edge {
  /** From this rank's tokens outside, [N, D] or [N/n, D], to all N, [N, D], on every rank. */
  readonly gather: (x: Tensor) => Promise<Tensor>;
  /** From each rank's part of a sum, [N, D], to this rank's tokens of the sum, [N, D] or [N/n, D]. */
  readonly sum: (part_ND: Tensor) => Promise<Tensor>;
}

/** Every rank holds all tokens. */
export const replicated = (tp: ProcessGroup): Edge => ({
  gather: async (x_ND) => share(x_ND),
  sum: (part_ND) => tp.allReduce(part_ND),
});

/** Rank r of n holds the r-th N/n tokens; n must divide N, or collectives throw an Error. */
export const sequenceSplit = (tp: ProcessGroup): Edge => ({
  gather: (x_NtD) => tp.allGather(x_NtD, 0),
  sum: (part_ND) => tp.reduceScatter(part_ND, 0),
});

/** g: part_ND to the sum of all ranks' parts. Backward needs nothing of them: a recomputed block ends before it. */
export const sumOfParts = ({ gather, sum }: Edge): Layer => {
  const blind = () => pullback([], gather);
  const forward: Layer = async (part_ND) => [await sum(part_ND), blind()];
  return Object.assign(forward, { blind });
};

// ## Split matrices

/**
 * f, then several column-parallel matrices w_OtD of the same x, as one: q, k and v; gate and up. The rank's tokens to
 * y_NOt, whose Ot outputs are those of all the matrices.
 *
 * It computes what chain(f, linear(...weights)) would. Backward has another order: dx first, whose sum is on the way
 * while the weights' gradients, which need it not, are computed. Only x as it lies outside is kept.
 */
export const columnParallel = ({ gather, sum }: Edge, ...weights_OtD: Parameter[]): Layer => {
  const pullOf = (x: Tensor) => {
    const saved = share(x);
    return pullback([saved], async (dy_NOt: Tensor) => {
      const gathered = gather(saved);
      const part_ND = tf.tidy(() => matmul(dy_NOt, stacked(weights_OtD)));
      const dx = sum(part_ND); // on the wire from here
      part_ND.dispose();
      const again_ND = await gathered;
      accumulateProduct(weights_OtD, dy_NOt, again_ND);
      again_ND.dispose();
      return await dx;
    });
  };
  const forward: Layer = async (x) => {
    const x_ND = await gather(x);
    const y_NOt = tf.tidy(() => matmul(x_ND, stacked(weights_OtD), 'nt'));
    x_ND.dispose();
    return [y_NOt, pullOf(x)];
  };
  return Object.assign(forward, { again: async (x: Tensor) => pullOf(x) });
};

/** x_NIt · w_DItᵀ on each rank, then g: to this rank's tokens, [N, D] or [N/n, D]. */
export const rowParallel = (edge: Edge, w_DIt: Parameter): Layer => chain(linear(w_DIt), sumOfParts(edge));

// ## Both ends: the vocabulary
//
// Rank r has rows r·V/n to (r+1)·V/n of the embedding and of the head.

/** Each token's vector, from the one rank that has it, plus zeros from the others. */
export const vocabularyEmbedding =
  (edge: Edge, table_VtD: Parameter): Embedding =>
  async (ids) => {
    const [part_ND, pullRows] = await embedding(table_VtD)(ids);
    const [x, pullSum] = await sumOfParts(edge)(part_ND);
    part_ND.dispose();
    const backward = async (dx: Tensor) => {
      const dpart_ND = await pullSum(dx);
      await pullRows(dpart_ND);
      dpart_ND.dispose();
    };
    return [x, pullbackThrough([pullSum, pullRows], backward)];
  };

/**
 * f, then cross-entropy over logits of which each rank has V/n. Targets are those of all N tokens, on every rank;
 * `chunkBytes` as crossEntropy's.
 */
export const vocabularyLoss =
  (tp: ProcessGroup, edge: Edge, w_VtD: Parameter, chunkBytes?: number): Loss =>
  async (x, targets, options) => {
    const x_ND = await edge.gather(x);
    const loss = crossEntropy(w_VtD, { chunkBytes, softmaxLoss: splitSoftmaxLoss(tp, w_VtD) });
    const [value, pullLoss] = await loss(x_ND, targets, options);
    x_ND.dispose();
    const backward = async () => {
      const part_ND = await pullLoss();
      const dx = await edge.sum(part_ND);
      part_ND.dispose();
      return dx;
    };
    return [value, pullbackThrough([pullLoss], backward)];
  };

/**
 * No rank ever has the V logits of a token. Of its V/n each finds the largest, the sum of exponentials, and the
 * target's if that is its own: three numbers a token travel instead of V. Every rank gathers those of all, and puts
 * them together in the same order.
 *
 *   m = max_r m_r      s = Σ_r s_r · exp(m_r - m)      t = Σ_r t_r
 *   loss = log s - (t - m)      dlogit = exp(logit - m) / s - (1 at the target), times the weight
 */
const splitSoftmaxLoss =
  (tp: ProcessGroup, w_VtD: Parameter): SoftmaxLoss =>
  async (logits_CVt, targets_C, options) => {
    const { first } = wordsOf(w_VtD);
    const own_C3 = logitStatistics(logits_CVt, targets_C, first);
    const stats = await tp.allGather(own_C3, 0); // [n·C, 3]
    const result = logitGradient(logits_CVt, targets_C, stats, { first, ...options });
    tf.dispose([own_C3, stats]);
    return result;
  };

// ## A model split over the group

/**
 * Says what of a model can't be split over n ranks.
 *
 * @throws UserError with the numbers of ranks that would do: those that divide H, F and V, and divide G or are a
 *   multiple of it
 */
export function checkTensorParallel(config: LlamaConfig, tp: number): void {
  const { heads, kvHeads, ffn, vocabulary } = config;
  const problem = (n: number): string | undefined => {
    for (const [key, size] of Object.entries({ heads, ffn, vocabulary })) if (size % n !== 0) return `${key}=${size}`;
    return kvHeads % n !== 0 && n % kvHeads !== 0 ? `kvHeads=${kvHeads} (nor is it a multiple)` : undefined;
  };
  const found = problem(tp);
  if (!found) return;
  const fit = Array.from({ length: heads }, (_, i) => i + 1).filter((n) => !problem(n));
  throw new UserError(`tp=${tp} does not divide ${found}: use ${fit.join(', ')}`);
}

/**
 * Splits a whole model's matrices over the ranks of `tp`, before they are allocated, and before a pipeline takes its
 * stages of it. Every rank of the group calls it. `sequenceParallel` (default false): n must divide the N tokens of a
 * micro-batch.
 *
 * @throws UserError where the model can't be split so
 */
export async function applyTensorParallel(
  model: Llama,
  tp: ProcessGroup,
  { sequenceParallel = false }: { sequenceParallel?: boolean } = {},
): Promise<void> {
  checkTensorParallel(model.config, tp.size);
  if (tp.size === 1) return;
  const edge = sequenceParallel ? sequenceSplit(tp) : replicated(tp);
  // More ranks than key and value heads: several in a row hold the same head, and add up what each finds for it.
  const kvCopies = Math.max(1, tp.size / model.config.kvHeads);
  const sharing = kvCopies > 1 ? await tp.split(Math.floor(tp.rank / kvCopies), tp.rank, 'kv') : undefined;
  const split = (name: string, axis: number, copies = 1): Parameter => {
    const parameter = model.parameters.find((one) => one.name === `${name}.weight`) as Parameter;
    parameter.shard = { axis, index: Math.floor(tp.rank / copies), of: tp.size / copies };
    parameter.replicas = copies;
    parameter.partial = copies > 1 ? sharing : undefined;
    return parameter;
  };
  for (const [i, block] of model.blocks.entries()) {
    const [attention, mlp] = [`model.layers.${i}.self_attn`, `model.layers.${i}.mlp`];
    const kv = [split(`${attention}.k_proj`, 0, kvCopies), split(`${attention}.v_proj`, 0, kvCopies)];
    block.kvHeads = (block.kvHeads * kvCopies) / tp.size;
    block.qkv = columnParallel(edge, split(`${attention}.q_proj`, 0), ...kv);
    block.output = rowParallel(edge, split(`${attention}.o_proj`, 1));
    block.gateUp = columnParallel(edge, split(`${mlp}.gate_proj`, 0), split(`${mlp}.up_proj`, 0));
    block.down = rowParallel(edge, split(`${mlp}.down_proj`, 1));
  }
  const table = split('model.embed_tokens', 0);
  const head = model.config.tied ? table : split('lm_head', 0);
  model.embed = vocabularyEmbedding(edge, table);
  model.loss = vocabularyLoss(tp, edge, head);
  for (const norm of model.parameters.filter(({ shard }) => !shard)) {
    norm.replicas = tp.size;
    if (sequenceParallel) norm.partial = tp; // each rank has normalized its own tokens alone
  }
}

// ## What it costs

/** What the formula asks of a part of a model, which need not exist. */
export interface SplitPart extends Pick<Llama, 'dtype' | 'recompute'> {
  /** The model's width, D. */
  readonly config: Pick<LlamaConfig, 'dim'>;
  /** How many blocks the part has. */
  readonly blocks: { readonly length: number };
  /** Present where the part begins with the embedding. */
  readonly embed?: unknown;
  /** Present where it ends with the output. */
  readonly loss?: unknown;
}

/**
 * Bytes that a rank sends in its group for one micro-batch, N tokens over all n ranks, forward and backward of a split
 * model or a part of one. (What a step sends once, of parameters that are `partial` over the group, is data
 * parallelism's to count.)
 *
 * A sum and the gather that undoes it send (n-1)/n of [N, D] each, together an all-reduce; with sequence parallelism a
 * column-parallel layer gathers once more in backward, since it kept N/n tokens only.
 */
export function tensorParallelBytes(
  tp: Pick<ProcessGroup, 'rank' | 'size'>,
  part: SplitPart,
  N: number,
  sequenceParallel: boolean,
): number {
  const { config, dtype, recompute, blocks } = part;
  const half = (N * config.dim * BYTES[dtype] * (tp.size - 1)) / tp.size; // a scatter's, and a gather's
  const allReduce = allReduceBytes({ shape: [N, config.dim], dtype }, tp.rank, tp.size);
  const [sum, gather] = sequenceParallel ? [half, half] : [allReduce, 0];
  const forward = 2 * (gather + sum); // two pairs of f and g
  const backward = 2 * (gather + sum) + 2 * gather;
  const embedding = part.embed ? sum + gather : 0;
  const statistics = allGatherBytes({ shape: [N, 3], dtype: 'float32' }, tp.size); // in however many chunks
  const loss = part.loss ? gather + statistics + sum : 0;
  const again = recompute === 'block' ? forward - sum : 0; // a block's second forward ends before its last g
  return blocks.length * (forward + again + backward) + embedding + loss;
}
