/**
 * Context parallelism: a sequence is split over ranks; keys and values travel round a ring, past everyone's queries.
 *
 *     npx nx run train:start -- --cp 2
 *
 * All of a model but attention works on each token alone, so a rank that holds 1/cp of the tokens does 1/cp of the work
 * and keeps 1/cp of the activations. Attention needs the tokens before: a rank keeps its queries, and cp - 1 times
 * hands the keys and values that it has at the moment to the next rank; they travel while both compute.
 *
 *      rank 0 ──k₀v₀──▶ rank 1            step 0      every rank has its own keys and values
 *        ▲                │               step 1      those of the rank before it
 *      k₃v₃             k₁v₁              step 2      those of the rank before that
 *        │                ▼               step 3      all have come by
 *      rank 3 ◀──k₂v₂── rank 2
 *
 * A block of keys gives o_b, the mean of its values under its own softmax, and lse_b = log Σ exp(scores) (see
 * ops/attention-block.ts). What two blocks a and b give the same queries makes one, in float32, where a's lies
 * (ops/merge.ts):
 *
 *   w = exp(lse_b) / (exp(lse_a) + exp(lse_b)) = sigmoid(lse_b - lse_a)         b's weight
 *   o = o_a + w · (o_b - o_a)                                                   the weighted mean
 *   lse = log(exp(lse_a) + exp(lse_b)) = lse_a + softplus(lse_b - lse_a)
 *
 * Liu, Zaharia and Abbeel, "Ring attention with blockwise transformers for near-infinite context" (2023).
 *
 * Who has which tokens? A query sees no key after it. With the sequence cut into cp pieces in order, rank r computes r
 * whole blocks and half of its own: all wait for the last rank, which computes (2cp - 1) / cp times the mean, 1.75
 * times at cp = 4. Zigzag cuts 2·cp chunks and gives each rank one from the front and one from the back (at cp = 4):
 *
 *      chunk    0   1   2   3   4   5   6   7
 *      rank     0   1   2   3   3   2   1   0
 *
 * Now of every other rank's block exactly half is computed: all queries see its first chunk, or the second half of
 * them sees both. Llama 3 was trained with this layout, and zhuzilin's ring-flash-attention has it. (Brandon et al.,
 * "Striped attention", 2023, deals out single tokens, to the same end.)
 *
 * B batch, t = T / cp tokens of a rank, H query heads, G key and value heads, K head dimension. Only the G heads
 * travel, never copies of them for the H. A rank sends in one layer 2(cp - 1) tensors of B·G·t·K numbers forward, and
 * backward 2(cp - 1) again and 2·cp of float32 gradients.
 */
import type { Llama, Recompute } from '@fourfold/model';
// biome-ignore format: a list
import {
  type Attention, type AttentionSaved, addAt, attentionBlock, attentionBlockGradients, headsOf, kernels, type Layer,
  mergeAttention, pullback,
} from '@fourfold/ops';
import { type ProcessGroup, specOf } from '@fourfold/process-group';
import { BYTES, cast, type DType, dtypeOf, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

const { concat, share, slice } = kernels;

// ## Who has which tokens

/** The orders in which chunks of a sequence are dealt to ranks: see the picture at the top. */
export const ORDERS = ['zigzag', 'contiguous'] as const;
/** One of ORDERS. */
export type Order = (typeof ORDERS)[number];

/** Into how many equal chunks the sequence is cut. */
const chunkCount = (cp: number, order: Order): number => (order === 'zigzag' && cp > 1 ? 2 * cp : cp);

/**
 * Says whether a sequence can be split so.
 *
 * @throws UserError, one sentence with the values that would do
 */
export function checkContextParallel({ seqLength, cp, order }: { seqLength: number; cp: number; order: Order }): void {
  const fits = (ranks: number) => seqLength % chunkCount(ranks, order) === 0;
  if (fits(cp)) return;
  const chunks = chunkCount(cp, order);
  const fitting = Array.from({ length: seqLength }, (_, i) => i + 1).filter(fits);
  const values = new Intl.ListFormat('en-GB', { type: 'disjunction' }).format(fitting.map(String));
  throw new UserError(
    `cp=${cp} does not divide seqLength=${seqLength} into ${chunks} chunks (${order}): use cp ${values}, ` +
      `or a seqLength that is a multiple of ${chunks}`,
  );
}

/**
 * Where in the sequence of T tokens the T / cp tokens of a rank are, in ascending order. RoPE turns by these positions,
 * and a rank's tokens and targets are those at these places.
 *
 * @throws UserError where T can't be split so
 */
export function positionsOf(T: number, cp: number, rank: number, order: Order): Int32Array {
  checkContextParallel({ seqLength: T, cp, order });
  const count = chunkCount(cp, order);
  const length = T / count;
  const chunks = count === cp ? [rank] : [rank, count - 1 - rank];
  return Int32Array.from(chunks.flatMap((chunk) => Array.from({ length }, (_, i) => chunk * length + i)));
}

/** Some consecutive places along the time axis, counted in tokens from the first that the rank has. */
export type Span = readonly [start: number, length: number];

/** The part of a block that is computed: each of these queries sees all of these keys or, if causal, those up to it. */
export interface Visible {
  /** Of this rank's tokens. */
  readonly queries: Span;
  /** Of the block that came by. */
  readonly keys: Span;
  /** Whether query i sees keys 0 to i alone. */
  readonly causal: boolean;
}

/**
 * What a rank's t queries (an even number in zigzag order) see of the t keys of rank `source`; undefined: nothing.
 *
 * In zigzag order a rank before this one has its first chunk before all queries here and its second one after them; a
 * rank after this one has both its chunks between the two here.
 */
export function visible(order: Order, rank: number, source: number, t: number): Visible | undefined {
  const all: Span = [0, t];
  if (source === rank) return { queries: all, keys: all, causal: true };
  if (order === 'contiguous') return source < rank ? { queries: all, keys: all, causal: false } : undefined;
  return source < rank
    ? { queries: all, keys: [0, t / 2], causal: false }
    : { queries: [t / 2, t / 2], keys: all, causal: false };
}

// ## The ring

/** Sends tensors to the next rank, and promises the previous one's, which are of the same shapes. */
function pass(cp: ProcessGroup, tensors: readonly Tensor[]): Promise<Tensor[]> {
  if (cp.size === 1) return Promise.resolve(tensors.map(share));
  const [next, previous] = [(cp.rank + 1) % cp.size, (cp.rank + cp.size - 1) % cp.size];
  return cp.sendReceive([
    ...tensors.map((send) => ({ send, to: next })),
    ...tensors.map((x) => ({ receiveFrom: previous, like: specOf(x) })),
  ]);
}

/** This rank's keys and values, then the previous rank's, until all have come by; freed as the loop goes on. */
async function* comingBy(cp: ProcessGroup, own: readonly [k: Tensor, v: Tensor]) {
  let [k, v] = own.map(share) as [Tensor, Tensor];
  for (let step = 0; ; step++) {
    const arriving = step < cp.size - 1 ? pass(cp, [k, v]) : undefined; // travels while the loop's body computes
    yield { source: (cp.rank + cp.size - step) % cp.size, k, v };
    tf.dispose([k, v]);
    if (!arriving) return;
    [k, v] = (await arriving) as [Tensor, Tensor];
  }
}

// ## Forward

/** How a ring is made. */
export interface RingOptions {
  /** G, of the J = H + 2G heads of q, k and v. */
  readonly kvHeads: number;
  /** Who has which tokens. */
  readonly order: Order;
  /** As attention's (ops/src/attention-block.ts); default true. */
  readonly deterministic?: boolean | undefined;
}

/** qkv_BtJK of this rank's tokens, whose positions `positionsOf` gives and RoPE has turned by, to o_BtHK. */
export const ringAttention =
  (cp: ProcessGroup, { kvHeads, order, deterministic }: RingOptions): Layer =>
  async (qkv_BtJK) => {
    const [q, k, v] = headsOf(qkv_BtJK, kvHeads);
    let whole: Attention | undefined;
    for await (const block of comingBy(cp, [k, v])) {
      const seen = visible(order, cp.rank, block.source, q.shape[1] as number);
      if (!seen) continue;
      const part = tf.tidy(() => blockOutput(q, block, seen));
      whole = whole ? mergeAttention(whole, part, seen.queries[0]) : [wide(part[0]), part[1]];
    }
    const [wide_BtHK, lse] = whole as Attention;
    const o_BtHK = cast(wide_BtHK, dtypeOf(q));
    wide_BtHK.dispose();
    const saved = { q, k, v, o: share(o_BtHK), lse };
    const backward = async (do_BtHK: Tensor) => {
      const parts = await gradients(cp, { order, deterministic }, { ...saved, dO: do_BtHK });
      const dqkv_BtJK = concat([...parts], 2);
      tf.dispose([...parts]);
      return dqkv_BtJK;
    };
    return [o_BtHK, pullback(Object.values(saved), backward)];
  };

/** [o_BtHK, lse_BHt]: this rank's queries over the keys and values of one block, as far as they see them. */
const blockOutput = (q: Tensor, { k, v }: { k: Tensor; v: Tensor }, { queries, keys, causal }: Visible): Attention =>
  attentionBlock(cut(q, queries), cut(k, keys), cut(v, keys), { causal });

/** Some places along time; x itself, shared, where they are all of them. */
const cut = (x: Tensor, [start, length]: Span, time = 1): Tensor => slice(x, time, start, length);

/** x in float32, since more will be added to it. Takes x over: from here on its memory is the ring's to write to. */
function wide(x: Tensor): Tensor {
  const y = cast(x, 'float32');
  x.dispose();
  return y;
}

// ## Backward
//
// Keys and values come by once more, and each pair is followed by dk and dv, the sums of what the ranks before found
// for it. A rank sends k and v on before it computes, and dk and dv after, with its own part added: these are on their
// way while the next rank computes its part. They make one hop more, the cp-th, which brings them home.
//
// Parts are added to the sums where these lie. Nobody else holds them: who sent dk and dv has let go of them.

/** [dq_BtHK, dk_BtGK, dv_BtGK], summed in float32. */
async function gradients(
  cp: ProcessGroup,
  { order, deterministic }: Omit<RingOptions, 'kvHeads'>,
  saved: AttentionSaved,
): Promise<readonly Tensor[]> {
  let dq: Tensor | undefined;
  let arriving: Promise<Tensor[]> | undefined;
  for await (const { source, k, v } of comingBy(cp, [saved.k, saved.v])) {
    const seen = visible(order, cp.rank, source, saved.q.shape[1] as number);
    const own = seen && tf.tidy(() => blockGradients({ ...saved, k, v }, seen, deterministic));
    let sums = (await arriving) ?? []; // dk and dv so far; they came while this block was computed
    if (own) {
      const [ownDq, ...dkdv] = own;
      dq = added(dq, ownDq, seen.queries);
      sums = dkdv.map((part, i) => added(sums[i], part, seen.keys));
    }
    arriving = pass(cp, sums);
    tf.dispose(sums);
  }
  const all = [dq as Tensor, ...((await arriving) as Tensor[])];
  const results = all.map((x) => cast(x, dtypeOf(saved.q)));
  tf.dispose(all);
  return results;
}

/** A sum with a part added to it; the first one, which is of all places, is the sum so far. Takes both over. */
const added = (sum: Tensor | undefined, part: Tensor, [start]: Span): Tensor =>
  sum ? addAt(sum, part, start) : wide(part);

/** [dq, dk, dv]: this rank's part of the gradients of one block. */
function blockGradients(
  { q, k, v, o, lse, dO }: AttentionSaved,
  { queries, keys, causal }: Visible,
  deterministic: boolean | undefined,
) {
  const perQuery = { q: cut(q, queries), o: cut(o, queries), lse: cut(lse, queries, 2), dO: cut(dO, queries) };
  const block = { ...perQuery, k: cut(k, keys), v: cut(v, keys) };
  return attentionBlockGradients(block, { causal, deterministic });
}

// ## In a model

/**
 * Makes the model one that sees this rank's tokens alone: it knows their positions, and attends by a ring. Feed it the
 * tokens and targets at `model.positions(t)`, where t counts this rank's tokens of a sequence, and average losses and
 * gradients over the group. It comes before a pipeline takes its stages of the model.
 */
export function applyContextParallel(model: Llama, cp: ProcessGroup, { order }: { readonly order: Order }): void {
  if (cp.size === 1) return;
  model.positions = (t) => positionsOf(t * cp.size, cp.size, cp.rank, order);
  const { deterministic } = model;
  for (const block of model.blocks) block.attend = (kvHeads) => ringAttention(cp, { kvHeads, order, deterministic });
}

/** What the formula asks of a layer's attention. */
export interface RingShape {
  /** Sequences of a micro-batch. */
  readonly B: number;
  /** Key and value heads of a rank. */
  readonly G: number;
  /** Tokens of one rank, of each sequence. */
  readonly t: number;
  /** Dimensions of a head. */
  readonly K: number;
  /** Ranks of the ring. */
  readonly cp: number;
  /** Of keys and values as they travel. */
  readonly dtype: DType;
  /** Of a block: attention and its ring are run once more. */
  readonly recompute: Recompute;
}

/** Bytes that a rank sends in one layer's forward and backward of one micro-batch. */
export function contextParallelBytes({ B, G, t, K, cp, dtype, recompute }: RingShape): number {
  if (cp === 1) return 0;
  const both = 2 * B * G * t * K; // numbers in k and v, and in dk and dv
  const passes = recompute === 'block' ? 3 : 2; // in which k and v go round
  return passes * (cp - 1) * both * BYTES[dtype] + cp * both * BYTES.float32;
}
