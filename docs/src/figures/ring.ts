/**
 * The figure of ring attention: whose keys come by at which rank in which step, what of the mask is computed then, and
 * what that costs each rank.
 *
 *     step 0         step 1         step 2
 *     ■ . .          . . .          . . .        cp=3, contiguous: rank 0 (above) works in step 0 alone, since it sees
 *     . ■ .          ■ . .          . . .        no keys of others; ■ on the diagonal is half a block
 *     . . ■          . ■ .          ■ . .
 *
 * Who has which tokens, what a rank sees of a block, and the attention itself are context-parallel's own. The bytes are
 * those that the local transport counted while a small attention ran, one rank beside the other.
 */
import { contextParallelBytes, type Order, positionsOf, ringAttention, visible } from '@fourfold/context-parallel';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { keyOf, normals } from '@fourfold/runtime/random';
import * as tf from '@tensorflow/tfjs-core';
import { percent } from './words.ts';

export interface RingChoice {
  readonly cp: number;
  readonly order: Order;
}

/** What a rank does in one step of the ring. */
export interface Visit {
  readonly rank: number;
  readonly step: number;
  /** Whose keys and values are there. */
  readonly source: number;
  /** Pairs of a query and a key that it sees: the work. */
  readonly pairs: number;
}

/** One pair of chunks in the mask, and when it is computed. */
export interface Block {
  /** Chunk of the queries, and of the keys. */
  readonly row: number;
  readonly column: number;
  readonly rank: number;
  readonly step: number;
  /** `half`: each query sees the keys up to its own. */
  readonly part: 'full' | 'half' | 'hidden';
}

export interface RingFigure {
  readonly cp: number;
  readonly order: Order;
  /** Into how many chunks the mask is cut, and whose each is. */
  readonly owners: readonly number[];
  /** Tokens of a chunk. */
  readonly length: number;
  readonly visits: readonly Visit[];
  readonly blocks: readonly Block[];
  /** Of the time that all ranks take if each waits for the slowest in every step, the share in which they work. */
  readonly busy: number;
}

/** Tokens of a rank: enough to cut in two, and for a half block to be near half the work of a full one. */
export const TOKENS = 32;

// ## The mask

export function ringFigure({ cp, order }: RingChoice): RingFigure {
  const positions = Array.from({ length: cp }, (_, rank) => positionsOf(cp * TOKENS, cp, rank, order));
  const length = order === 'zigzag' && cp > 1 ? TOKENS / 2 : TOKENS;
  const starts = positions.map((own) => [...own].filter((position) => position % length === 0));
  const owners = Array.from({ length: (cp * TOKENS) / length }, (_, chunk) =>
    starts.findIndex((own) => own.includes(chunk * length)),
  );
  const ranks = [...positions.keys()];
  const visits = ranks.flatMap((rank) => ranks.map((step) => visit(order, cp, rank, step)));
  const chunks = [...owners.keys()];
  const blocks = chunks.flatMap((row) =>
    chunks.map((column): Block => {
      const [rank, source] = [owners[row] as number, owners[column] as number];
      const part = row === column ? 'half' : row > column ? 'full' : 'hidden';
      return { row, column, rank, step: (rank - source + cp) % cp, part };
    }),
  );
  return { cp, order, owners, length, visits, blocks, busy: busyShare(visits, cp) };
}

/** In step s a rank has the keys and values of the s-th rank before it. */
function visit(order: Order, cp: number, rank: number, step: number): Visit {
  const source = (rank - step + cp) % cp;
  const seen = visible(order, rank, source, TOKENS);
  return { rank, step, source, pairs: seen ? pairsOf(seen.queries[1], seen.keys[1], seen.causal) : 0 };
}

/** The i-th of n queries sees i + 1 keys if causal, else all. */
const pairsOf = (queries: number, keys: number, causal: boolean): number =>
  causal ? (queries * (queries + 1)) / 2 : queries * keys;

/** A step is as long as its slowest rank. */
function busyShare(visits: readonly Visit[], cp: number): number {
  const slowest = Array.from({ length: cp }, (_, step) =>
    Math.max(...visits.filter((visit) => visit.step === step).map(({ pairs }) => pairs)),
  );
  const work = visits.reduce((sum, { pairs }) => sum + pairs, 0);
  return work / (cp * slowest.reduce((a, b) => a + b, 0));
}

// ## The attention itself

export interface RingRun {
  /** Bytes that a rank sent forward in each step, and backward in all. */
  readonly steps: readonly number[];
  readonly backward: number;
  /** Both by the formula. */
  readonly formula: number;
  /** The largest difference of an output from one rank's. */
  readonly difference: number;
}

/** One sequence, two query heads that share one head of keys and values, of four dimensions. */
const HEADS = { B: 1, H: 2, G: 1, K: 4 };

/** Runs ring attention forward and backward on cp ranks, and on one. */
export async function runRing({ cp, order }: RingChoice): Promise<RingRun> {
  const ranks = await spmd(cp, (world) => attend(world, cp, order));
  const [whole] = await spmd(1, (world) => attend(world, cp, order));
  const [first] = ranks as [Attended];
  const differences = ranks.flatMap(({ output }) =>
    [...output].map(([place, value]) => Math.abs(value - (whole?.output.get(place) as number))),
  );
  const shape = { B: HEADS.B, G: HEADS.G, t: TOKENS, K: HEADS.K, cp, dtype: 'float32', recompute: 'none' } as const;
  return {
    steps: first.sent.slice(0, cp - 1),
    backward: first.sent.slice(cp - 1).reduce((a, b) => a + b, 0),
    formula: contextParallelBytes(shape),
    difference: differences.reduce((a, b) => Math.max(a, b), 0),
  };
}

interface Attended {
  /** By place in the whole sequence. */
  readonly output: ReadonlyMap<string, number>;
  /** Bytes of each call, in their order. */
  readonly sent: readonly number[];
}

async function attend(world: ProcessGroup, cp: number, order: Order): Promise<Attended> {
  const { B, H, G, K } = HEADS;
  const [T, width] = [cp * TOKENS, (H + 2 * G) * K];
  const positions = positionsOf(T, world.size, world.rank, order);
  const whole = normals(keyOf(1, 'qkv'), 0, T * width, 1);
  const own = Array.from(positions).flatMap((position) => [...whole.slice(position * width, (position + 1) * width)]);
  world.recorder.trace = [];
  const qkv_BtJK = tf.tensor4d(own, [B, positions.length, H + 2 * G, K]);
  const [o_BtHK, pull] = await ringAttention(world, { kvHeads: G, order })(qkv_BtJK);
  const dqkv_BtJK = await pull(o_BtHK);
  const values = await o_BtHK.data();
  const output = new Map(
    [...values].map((value, i) => [`${positions[Math.floor(i / (H * K))]} ${i % (H * K)}`, value]),
  );
  tf.dispose([qkv_BtJK, o_BtHK, dqkv_BtJK]);
  return { output, sent: world.recorder.trace.map(({ bytes }) => bytes) };
}

// ## In words

export function ringSummary({ cp, order, visits, busy }: RingFigure): string {
  const ranks = Array.from({ length: cp }, (_, rank) => rank);
  const works = ranks.map((rank) =>
    visits.filter((one) => one.rank === rank).reduce((sum, { pairs }) => sum + pairs, 0),
  );
  const most = works.indexOf(Math.max(...works));
  const least = works.indexOf(Math.min(...works));
  const even = works[most] === works[least] ? 'Every rank computes as many pairs as any other' : '';
  const times = ((works[most] as number) / (works[least] as number)).toFixed(1);
  const uneven = `Rank ${most} computes ${times} times the pairs of rank ${least}`;
  return `${cp} ranks, ${order}. ${even || uneven}; ranks work for ${percent(busy)} of the time.`;
}
