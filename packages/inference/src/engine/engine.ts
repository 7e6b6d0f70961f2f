/**
 * Many requests, one decoder: continuous batching.
 *
 *     step     rows of it: one for each answer that goes on, and what room is left for prompts, a chunk at a time
 *      1       A A A A A A A A        A's prompt, 8 rows
 *      2       a B B B B B B B        A's first token; the first 7 of B's prompt
 *      3       a b . . . . . .        both go on
 *      4       a b C C C C C C        C needn't wait until A and B are done
 *
 * A decode step reads every weight once, whatever the number of its rows; so eight answers together take little longer
 * than one (Yu et al., "Orca", 2022). A long prompt holds the others up for one chunk and not for all of it ("Sarathi",
 * Agrawal et al., 2023). The decoder gives each row the same bits whatever else is in its step, and a token is drawn by
 * its request's own seed: what a request gets does not depend on its neighbours.
 */
import { setImmediate } from 'node:timers/promises';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import type { Decoder, Logits, StepCost } from '../decoder.ts';
import { type Chosen, choose, type Sampling } from '../sampler.ts';
import { type Pending, planRows } from './plan.ts';
import { commonLength, type Slot, Slots } from './slots.ts';

/** So many positions in common are worth waiting for until another prompt's are computed. */
const WORTH_WAITING = 32;

/** What is asked of the engine: tokens that follow some tokens. */
export interface TokenRequest {
  /** At least one token, and fewer than the decoder's positions. */
  readonly prompt: readonly number[];
  /** The most tokens of the answer; fewer where the positions end. */
  readonly maxTokens: number;
  /** How tokens are chosen. */
  readonly sampling: Sampling;
  /** Ids after which the answer is over. */
  readonly ends: ReadonlySet<number>;
  /** Ends the request, whose slot is free at once. */
  readonly signal?: AbortSignal | undefined;
}

/** What one step did, for those who count. */
export interface StepReport {
  /** Tokens of prompts that it computed. */
  readonly promptRows: number;
  /** Tokens of answers that it computed. */
  readonly answerRows: number;
  /** Requests that have a slot. */
  readonly running: number;
  /** Requests that wait for one. */
  readonly waiting: number;
  /** Prompt tokens that needn't be computed, of requests that began with this step. */
  readonly reused: number;
  /** Its time and bytes. */
  readonly cost: StepCost;
}

/** How an engine behaves. */
export interface EngineOptions {
  /** The most requests that wait for a slot (default: any number). */
  readonly maxWaiting?: number;
  /** Hears of each step. */
  readonly onStep?: ((report: StepReport) => void) | undefined;
  /** Hears why the decoder can go on no more; `replaceDecoder` gives the engine another. */
  readonly onFailure?: ((error: RunError) => void) | undefined;
}

/** Too many wait already: come again later. */
export class QueueFull extends Error {
  /** 'QueueFull'. */
  override readonly name = 'QueueFull';
}

/** A request on its way. Its slot's tokens are what has been computed of `tokens`. */
interface Sequence {
  readonly request: TokenRequest;
  readonly tokens: number[];
  readonly output: ReadableStreamDefaultController<Chosen>;
  slot?: Slot;
  isOver: boolean;
}

/** Answers many requests with one decoder: each step takes rows of all that run. */
export class Engine {
  #decoder: Decoder;
  #slots: Slots;
  readonly #options: EngineOptions;
  #waiting: Sequence[] = [];
  #running: Sequence[] = [];
  #isAtWork = false;
  #failure: RunError | undefined;
  #reused = 0;

  constructor(decoder: Decoder, options: EngineOptions = {}) {
    this.#decoder = decoder;
    this.#slots = slotsOf(decoder);
    this.#options = options;
    this.#watch(decoder);
  }

  /** How many requests have a slot. */
  get running(): number {
    return this.#running.length;
  }

  /** How many requests wait for one. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Why no request is taken; undefined where all is well. */
  get failure(): string | undefined {
    return this.#failure?.message;
  }

  /** Positions that a prompt and its answer may take together. */
  get maxSeqLength(): number {
    return this.#decoder.maxSeqLength;
  }

  /** Goes on with another decoder, after a step failed; requests that still run end. */
  replaceDecoder(decoder: Decoder): void {
    this.#endAll(new RunError('The decoder was replaced amid the answer: ask again'));
    this.#decoder = decoder;
    this.#slots = slotsOf(decoder);
    this.#failure = undefined;
    this.#watch(decoder);
  }

  /** A rank may be lost while nobody asks for anything. */
  #watch(decoder: Decoder): void {
    decoder.onLost?.((error) => {
      if (decoder === this.#decoder) this.#fail(error);
    });
  }

  /**
   * Takes a request; its answer comes token by token, the one that ends it included. Whoever stops reading ends it.
   *
   * @throws UserError where the prompt is empty or too long; QueueFull; RunError where the decoder has failed
   */
  generate(request: TokenRequest): ReadableStream<Chosen> {
    this.#check(request);
    let sequence: Sequence | undefined;
    const end = (): void => sequence && this.#end(sequence);
    return new ReadableStream<Chosen>(
      {
        start: (output) => {
          sequence = { request, tokens: [...request.prompt], output, isOver: false };
          this.#waiting.push(sequence);
          request.signal?.addEventListener('abort', end, { once: true });
          void this.#work();
        },
        cancel: end,
      },
      { highWaterMark: Number.POSITIVE_INFINITY },
    );
  }

  #check({ prompt, maxTokens, signal }: TokenRequest): void {
    const { maxSeqLength, vocabulary } = this.#decoder;
    if (this.#failure) throw this.#failure;
    signal?.throwIfAborted();
    if (prompt.length === 0) throw new UserError('The prompt is empty: give at least one token');
    if (prompt.length >= maxSeqLength)
      throw new UserError(
        `The prompt has ${prompt.length} tokens, and the context holds ${maxSeqLength} with the answer: ` +
          `use a prompt of at most ${maxSeqLength - 1} tokens`,
      );
    if (!(maxTokens >= 1)) throw new UserError(`max_tokens=${maxTokens} leaves no answer: use at least 1`);
    const unknown = prompt.find((token) => token >= vocabulary);
    if (unknown !== undefined)
      throw new UserError(`The prompt has token ${unknown}, and the model knows ${vocabulary}: use its own tokenizer`);
    if (this.#waiting.length >= (this.#options.maxWaiting ?? Number.POSITIVE_INFINITY))
      throw new QueueFull(`${this.#waiting.length} requests are waiting already: try again in a while`);
  }

  /** Steps while there is something to do. Between two steps all others of this process have their turn. */
  async #work(): Promise<void> {
    if (this.#isAtWork) return;
    this.#isAtWork = true;
    try {
      await setImmediate(); // requests that come together begin together
      while (this.#running.length + this.#waiting.length > 0) {
        await this.#step();
        await setImmediate();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#isAtWork = false;
    }
  }

  async #step(): Promise<void> {
    await this.#admit();
    const owners = new Map(this.#running.map((sequence) => [sequence.slot?.index, sequence]));
    const rows = planRows(this.#running.map(pendingOf), this.#decoder.maxRows);
    if (rows.length === 0) return;
    const all = await this.#decoder.step(rows);
    for (const { slot, position, token } of rows) (this.#slots.all[slot] as Slot).tokens[position] = token;
    const telling = rows.filter(({ wanted }) => wanted !== 'nothing');
    const answerRows = rows.filter(({ slot, position }) => position >= (owners.get(slot)?.request.prompt.length ?? 0));
    for (const [i, { slot }] of telling.entries()) {
      const owner = owners.get(slot);
      if (owner && !owner.isOver) this.#tell(owner, all[i] as Logits);
    }
    this.#report(rows.length - answerRows.length, answerRows.length);
  }

  /** Gives free slots to those who wait, in the order in which they came. */
  async #admit(): Promise<void> {
    for (const next of [...this.#waiting]) {
      const { prompt } = next.request;
      const place = this.#slots.placeFor(prompt);
      if (!place) return;
      if (next.isOver || this.#isBeingComputed(prompt, place.reused)) continue;
      this.#waiting = this.#waiting.filter((each) => each !== next);
      this.#slots.take(place);
      next.slot = place.slot;
      this.#running.push(next);
      this.#reused += place.reused;
      if (place.copyFrom) await this.#decoder.copySlot(place.copyFrom.index, place.slot.index, place.reused);
    }
  }

  /** Whether a running prompt has much in common with this one and will soon hold more: several answers to one. */
  #isBeingComputed(prompt: readonly number[], reused: number): boolean {
    return this.#running.some(({ request, slot }) => {
      const isOnItsWay = (slot?.tokens.length ?? 0) < request.prompt.length;
      const common = Math.min(commonLength(request.prompt, prompt), prompt.length - 1);
      return isOnItsWay && common >= WORTH_WAITING && common > reused;
    });
  }

  /** Chooses a sequence's next token and hands it out. */
  #tell(sequence: Sequence, logits: Logits): void {
    const { request, tokens, output } = sequence;
    const chosen = choose(logits, request.sampling, tokens.length - request.prompt.length);
    tokens.push(chosen.token);
    output.enqueue(chosen);
    const answered = tokens.length - request.prompt.length;
    const isFull = answered >= request.maxTokens || tokens.length >= this.#decoder.maxSeqLength;
    if (isFull || request.ends.has(chosen.token)) {
      this.#end(sequence);
      output.close();
    }
  }

  /** Takes a sequence out, whether it is done or nobody wants it any more. */
  #end(sequence: Sequence): void {
    if (sequence.isOver) return;
    sequence.isOver = true;
    if (sequence.slot) this.#slots.free(sequence.slot);
    this.#running = this.#running.filter((each) => each !== sequence);
    this.#waiting = this.#waiting.filter((each) => each !== sequence);
    if (sequence.request.signal?.aborted) sequence.output.error(sequence.request.signal.reason);
  }

  /** A step failed: what the slots hold is unknown. All requests end with the reason, and so do those to come. */
  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = new RunError(messageOf(error));
    this.#endAll(this.#failure);
    this.#options.onFailure?.(this.#failure);
  }

  #endAll(reason: RunError): void {
    for (const sequence of [...this.#running, ...this.#waiting]) {
      this.#end(sequence);
      sequence.output.error(reason);
    }
  }

  #report(promptRows: number, answerRows: number): void {
    const { running, waiting } = this;
    const reused = this.#reused;
    this.#reused = 0;
    this.#options.onStep?.({ promptRows, answerRows, running, waiting, reused, cost: this.#decoder.cost });
  }
}

const pendingOf = ({ slot, tokens, request: { sampling } }: Sequence): Pending => {
  const { index, tokens: cached } = slot as Slot;
  return { slot: index, tokens, cached: cached.length, sampling };
};

/** More slots than rows of a step would starve some. */
const slotsOf = ({ slots, maxRows }: Decoder): Slots => new Slots(Math.min(slots, maxRows));
