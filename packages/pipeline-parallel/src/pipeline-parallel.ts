/**
 * Pipeline parallelism: every rank has some of the layers, and micro-batches flow through the ranks.
 *
 * Four stages, four micro-batches, forward 1 to 4 and backward a to d; each column is a tick of the clock:
 *
 *     AFAB    1 2 3 4 . . . . . . a b c d        1F1B    1 2 3 4 . . . a . b . c . d
 *               1 2 3 4 . . . . a b c d                    1 2 3 . . a 4 b . c . d
 *                 1 2 3 4 . . a b c d                        1 2 . a 3 b 4 c . d
 *                   1 2 3 4 a b c d                            1 a 2 b 3 c 4 d
 *
 * All-forward-all-backward holds every micro-batch's activations at once. One-forward-one-backward goes backward when
 * it can: stage s of pp holds at most pp - s micro-batches, and takes as long. In both a rank is idle for pp-1 of
 * m+pp-1 slots: the bubble, (pp-1)/(m+pp-1) for m micro-batches. Interleaved 1F1B gives each rank v short runs of
 * layers instead of a long one, so filling and draining take 1/v as long, (pp-1)/(v·m+pp-1), for v times the messages.
 *
 * A message is the activation at one boundary for one micro-batch, N·D elements, or its gradient on the way back. A
 * stage frees what it has sent: its pullbacks, one for each micro-batch in flight, keep what backward needs.
 *
 * Huang et al., "GPipe" (2019); Narayanan et al., "PipeDream" (2019), "Efficient ... using Megatron-LM" (2021).
 */
import type { Batch } from '@fourfold/data';
// biome-ignore format: a list
import {
  forward, forwardToLoss, freePlace, type Llama, type LlamaConfig, type Place, parameterCount, placeOf,
} from '@fourfold/model';
import type { Parameter, Pullback } from '@fourfold/ops';
import type { ProcessGroup, TensorSpec, Transfer } from '@fourfold/process-group';
import { BYTES, UserError, zeros } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

// ## Stages
//
// With v chunks a rank there are pp·v stages in a row; stage s is chunk floor(s / pp) of rank s mod pp.

/** Layers of each stage: one, and each that is left to who has least. The last one has `head` layers' work beside. */
export function stageLengths(layers: number, stages: number, head = 0): number[] {
  const lengths: number[] = Array(stages).fill(1);
  const cost = (stage: number) => (lengths[stage] as number) + (stage === stages - 1 ? head : 0);
  for (let given = stages; given < layers; given++) {
    const least = [...lengths.keys()].reduce((a, b) => (cost(b) < cost(a) ? b : a));
    lengths[least] = (lengths[least] as number) + 1;
  }
  return lengths;
}

/** The head's multiplications, in layers (8.0 of SmolLM-135M's): both are as many as their weights. */
export const headCost = (c: LlamaConfig): number =>
  (c.vocabulary * c.dim * c.layers) / (parameterCount(c) - parameterCount({ ...c, layers: 0 }));

/** @throws UserError where there are fewer layers than stages */
export function checkPipelineParallel({ layers }: LlamaConfig, pp: number, chunks = 1): void {
  if (pp * chunks <= layers) return;
  const [asked, mend] = chunks > 1 ? [`pp=${pp} x ppChunks=${chunks}`, 'pp x ppChunks'] : [`pp=${pp}`, 'pp'];
  throw new UserError(`${asked} has more stages than layers=${layers}: use ${mend} of at most ${layers}`);
}

/**
 * This rank's parts of a model that isn't allocated yet, in the order of their stages: `chunks` (v), or on one rank the
 * model itself. Balanced by cost the head counts too, so the last stage gets fewer layers. Tied embeddings are on the
 * first and last stage: both ranks add up their gradients. All of `pp` call it. Throws UserError: too few layers.
 */
export async function applyPipelineParallel(
  model: Llama,
  pp: ProcessGroup,
  chunks = 1,
  balance: 'layers' | 'cost' = 'layers',
): Promise<Llama[]> {
  checkPipelineParallel(model.config, pp.size, chunks);
  if (pp.size === 1) return [model];
  const lengths = stageLengths(model.config.layers, pp.size * chunks, balance === 'cost' ? headCost(model.config) : 0);
  const parts = Array.from({ length: chunks }, (_, chunk) => partOf(model, lengths, chunk * pp.size + pp.rank));
  if (!model.config.tied) return parts;
  const isEnd = pp.rank === 0 || pp.rank === pp.size - 1;
  const ends = await pp.split(isEnd ? 0 : 1, pp.rank, 'ends');
  if (model.head && isEnd) Object.assign(model.head, { uses: 1, partial: ends, replicas: 2 * model.head.replicas });
  return parts;
}

/** The model with one stage's blocks and their parameters alone, and with its ends where the stage is at one. */
function partOf(model: Llama, lengths: readonly number[], stage: number): Llama {
  const start = lengths.slice(0, stage).reduce((a, b) => a + b, 0);
  const end = start + (lengths[stage] as number);
  const [first, last] = [stage === 0, stage === lengths.length - 1];
  const isMine = ({ name }: Parameter): boolean => {
    const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
    if (layer) return Number(layer) >= start && Number(layer) < end;
    return name.startsWith('model.embed_tokens') ? first || (last && model.config.tied) : last;
  };
  return {
    ...model,
    parameters: model.parameters.filter(isMine),
    blocks: model.blocks.slice(start, end),
    embed: first ? model.embed : undefined,
    ...(last ? {} : { norm: undefined, loss: undefined, head: undefined }),
  };
}

// ## Schedules
//
// An engine is nothing but an order: which micro-batch a rank takes forward or backward next.

/** All forwards before all backwards; one of each in turn; the same with several chunks a rank. */
export type Engine = 'afab' | '1f1b' | 'interleaved';
/** One forward or backward of one micro-batch through one of the rank's chunks. */
export interface Action {
  /** Which way. */ readonly kind: 'forward' | 'backward';
  /** From 0 to m - 1. */ readonly micro: number;
  /** From 0 to v - 1. */ readonly chunk: number;
}

/** What an order depends on. */
export interface Shape {
  /** 'forward': without any backward, for validation. */ readonly engine: Engine | 'forward';
  /** Ranks. */ readonly pp: number;
  /** v, the stages of a rank. */ readonly chunks: number;
  /** m, the micro-batches of a step. */ readonly micros: number;
}

/** How many forwards a rank runs before it alternates. One more, of all there are, is the most that it ever holds. */
export function warmUp({ engine, pp, chunks, micros }: Shape, rank: number): number {
  const [all, after] = [micros * chunks, pp - rank - 1];
  if (engine === 'afab' || engine === 'forward') return all;
  return Math.min(all, chunks === 1 ? after : 2 * after + (chunks - 1) * pp); // 1F1B of several chunks is interleaved
}

/**
 * One rank's actions in their order: warm-up; one forward and one backward in turn; the backwards that are left.
 * Groups of pp micro-batches pass through all chunks, one chunk after the other; backward from the last chunk on.
 */
function actionsOf(shape: Shape, rank: number): Action[] {
  const { engine, pp, chunks, micros } = shape;
  const list = (kind: Action['kind']): Action[] => {
    const actions: Action[] = [];
    for (let group = 0; group < micros; group += pp)
      for (let i = 0; i < chunks; i++)
        for (let micro = group; micro < Math.min(group + pp, micros); micro++)
          actions.push({ kind, micro, chunk: kind === 'forward' ? i : chunks - 1 - i });
    return actions;
  };
  const [forwards, backwards, first] = [list('forward'), list('backward'), warmUp(shape, rank)];
  if (engine === 'forward') return forwards;
  const steady = forwards.slice(first).flatMap((action, i) => [action, backwards[i] as Action]);
  return [...forwards.slice(0, first), ...steady, ...backwards.slice(forwards.length - first)];
}
/** What each rank does in a tick; undefined where it is idle. */
export type Tick = readonly (Action | undefined)[];
const keyOf = ({ kind, micro, chunk }: Action): string => `${kind} ${micro} ${chunk}`;

/** What is sent at a tick's end, and for which action: activations to the next stage, gradients to the one before. */
function messagesOf(tick: Tick, { pp, chunks }: Shape): { from: number; to: number; key: string }[] {
  return tick.flatMap((action, from) => {
    if (!action) return [];
    const stage = action.chunk * pp + from + (action.kind === 'forward' ? 1 : -1);
    if (stage < 0 || stage === pp * chunks) return [];
    return [{ from, to: stage % pp, key: keyOf({ ...action, chunk: Math.floor(stage / pp) }) }];
  });
}

/** Chunks need whole groups of pp micro-batches: m, or with several chunks the next multiple of pp. */
export const wholeGroups = ({ pp, chunks, micros }: Shape) => (chunks > 1 ? Math.ceil(micros / pp) * pp : micros);

/** Runs the ranks' orders against a clock: what each does in each tick, if every action takes one. */
export function timetable(shape: Shape): Tick[] {
  const { pp, chunks, micros } = shape;
  const whole = { ...shape, micros: wholeGroups(shape) }; // what the last group lacks is left out below
  const orders = Array.from({ length: pp }, (_, rank) => actionsOf(whole, rank));
  const arrived = new Set<string>();
  const isReady = (action: Action, rank: number): boolean => {
    const first = action.kind === 'forward' ? 0 : pp * chunks - 1; // this stage needs tokens; the loss, just computed
    return action.chunk * pp + rank === first || arrived.has(`${keyOf(action)} at ${rank}`);
  };
  const ticks: Tick[] = [];
  while (orders.some((order) => order.length > 0)) {
    const tick = orders.map((order, rank) => (order[0] && isReady(order[0], rank) ? order.shift() : undefined));
    if (tick.every((action) => !action)) throw new Error('in this order every rank waits for another');
    for (const { key, to } of messagesOf(tick, shape)) arrived.add(`${key} at ${to}`);
    ticks.push(tick.map((action) => (action && action.micro < micros ? action : undefined)));
  }
  return ticks;
}

/** Idle share of a step, 0 to 1, if stages take equally long and, with several chunks, pp divides the micro-batches. */
export const bubble = ({ pp, chunks, micros }: Shape): number => (pp - 1) / (chunks * micros + pp - 1);

// ## Running
//
// All ranks go through the same timetable. What one sends in a tick its neighbour receives in that tick, in one batch
// with what it sends itself: every message is expected, in any engine, and no order can deadlock. A rank doesn't wait
// for a batch until it needs what the batch brings.

/** What a rank did, and when: milliseconds since 1970, without the wait for the message before. */
export type Ran = Action & { readonly tick: number; readonly start: number; readonly end: number };

/**
 * Takes micro-batches, which have one shape, through all stages; the gradients of their mean loss are accumulated.
 * Returns that loss, a 0-d tensor of the caller's, where the last stage is, elsewhere 0. `parts` are this rank's;
 * `tokenRanks` (default 1) share its tokens between layers: tp with sequence parallelism. All of `pp` call it.
 */
export async function runPipeline(
  parts: readonly Llama[],
  pp: ProcessGroup,
  micros: readonly Batch[],
  { engine, tokenRanks = 1 }: { engine: Shape['engine']; tokenRanks?: number },
): Promise<{ loss: Tensor; ran: readonly Ran[] }> {
  const shape = { engine, pp: pp.size, chunks: parts.length, micros: micros.length };
  const run = new Run(parts, pp, micros, shape, tokenRanks);
  const ran: Ran[] = [];
  const now = () => performance.timeOrigin + performance.now();
  for (const [tick, actions] of timetable(shape).entries()) {
    const action = actions[pp.rank];
    if (action) {
      const message = await run.message(action);
      const start = now();
      await run[action.kind](action, message);
      ran.push({ ...action, tick, start, end: now() });
    }
    run.exchange(actions);
  }
  return { loss: await run.finish(), ran };
}

type Pull = Pullback<Tensor | undefined, Tensor | undefined>;
/** One rank's part of a step: what is in flight, and between which actions messages travel. */
class Run {
  readonly #parts: readonly Llama[];
  readonly #pp: ProcessGroup;
  readonly #micros: readonly Batch[];
  readonly #shape: Shape;
  readonly #place: Place;
  /** What the messages at a boundary are. */ readonly #like: TensorSpec;
  /** Of what is in flight, by the action that will call it. */ readonly #pulls = new Map<string, Pull>();
  readonly #losses: Tensor[] = [];
  readonly #batches: Promise<Tensor[]>[] = [];
  /** Messages by the action that needs them. */ readonly #inbox = new Map<string, () => Promise<Tensor>>();
  /** What the last action made for another stage. */ #output: Tensor | undefined;

  constructor(parts: readonly Llama[], pp: ProcessGroup, micros: readonly Batch[], shape: Shape, tokenRanks: number) {
    const [part, [B, T]] = [parts[0] as Llama, (micros[0] as Batch).shape];
    [this.#parts, this.#pp, this.#micros, this.#shape] = [parts, pp, micros, shape];
    this.#place = placeOf(part, B, T);
    this.#like = { shape: [(B * T) / tokenRanks, part.config.dim], dtype: part.dtype };
  }

  /** What an action needs from another stage; undefined for the first stage's forward and the last one's backward. */
  message = async (action: Action): Promise<Tensor | undefined> => this.#inbox.get(keyOf(action))?.();

  async forward(action: Action, message: Tensor | undefined): Promise<void> {
    const [part, { shape, ...batch }] = [this.#parts[action.chunk] as Llama, this.#micros[action.micro] as Batch];
    const ids = (values: Int32Array) => tf.tensor(values, [...shape], 'int32');
    const [input, targets_BT] = [message ?? ids(batch.inputs_BT), ids(batch.targets_BT)];
    const [gradients, weight] = [this.#shape.engine !== 'forward', 1 / this.#micros.length];
    const [y, pull] = part.loss
      ? await forwardToLoss(part, input, targets_BT, this.#place, { gradients, weight })
      : await forward(part, input, this.#place);
    tf.dispose([input, targets_BT]);
    if (part.loss) this.#losses.push(y);
    else this.#output = y;
    if (gradients) this.#pulls.set(keyOf({ ...action, kind: 'backward' }), pull as Pull);
    else pull.drop();
  }

  async backward(action: Action, message: Tensor | undefined): Promise<void> {
    const pull = this.#pulls.get(keyOf(action)) as Pull;
    this.#pulls.delete(keyOf(action));
    this.#output = await pull(message);
    message?.dispose();
  }

  /** Sends what this rank made in the tick, and expects what the others made for it. */
  exchange(tick: Tick): void {
    const [{ rank }, messages] = [this.#pp, messagesOf(tick, this.#shape)];
    const coming = messages.filter(({ to }) => to === rank);
    const transfers: Transfer[] = coming.map(({ from }) => ({ receiveFrom: from, like: this.#like }));
    const going = messages.filter(({ from }) => from === rank);
    transfers.push(...going.map(({ to }) => ({ send: this.#output as Tensor, to })));
    const batch = this.#pp.sendReceive(transfers);
    if (going.length > 0) this.#output?.dispose(); // backward doesn't need it
    for (const [i, { key }] of coming.entries()) this.#inbox.set(key, async () => (await batch)[i] as Tensor);
    this.#batches.push(batch);
  }

  /** The mean loss, when all that was sent has been taken. */
  async finish(): Promise<Tensor> {
    for (const batch of this.#batches) await batch;
    freePlace(this.#place);
    const mean = tf.tidy(() => (this.#losses[0] ? tf.mean(tf.stack(this.#losses)) : zeros([])));
    tf.dispose(this.#losses);
    return mean;
  }
}

// ## What it costs

/** Bytes that a rank sends in a step, if its messages are such tensors: [N, D] of the model's dtype. */
export function pipelineBytes(shape: Shape, rank: number, message: TensorSpec): number {
  const sent = timetable(shape).flatMap((tick) => messagesOf(tick, shape).filter(({ from }) => from === rank));
  return sent.length * message.shape.reduce((a, b) => a * b, 1) * BYTES[message.dtype];
}
