/**
 * A decoder over one rank, or over those of a process group.
 *
 *     rank 0            step(rows) ──> what to do, to all ──> compute ──> parts of logits, from all ──> merged
 *     others: follow    until it says the end: what to do ──> compute ──> parts of logits
 *
 * What to do is four words: [1, rows, 0, 0] for a step, whose rows follow (wire.ts); [2, from, to, length] for a copy
 * of a slot; [0, 0, 0, 0] for the end.
 */
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { read } from '@fourfold/runtime';
import { hostInts } from '@fourfold/runtime/shapes';
import type { Decoder, Logits, Row, StepCost } from './decoder.ts';
import { type ChosenOptions, chooseOptions, inBlocks, loadRank, type ModelOptions } from './load.ts';
import { mergeRows } from './merge.ts';
import type { RankModel } from './rank-model.ts';
import { ranksOf } from './ranks.ts';
import { RowCheck } from './row-check.ts';
import { checkRanks, evenPart } from './slices.ts';
import { lengthOf, type StoredModel } from './stored.ts';
import { partsOfWords, partWords, rowsOfWords, type Wanted, wantedOf, wordsOfParts, wordsOfRows } from './wire.ts';

const [END, STEP, COPY] = [0, 1, 2];

/**
 * Opens a decoder over so many ranks in this process. The model is closed with it.
 *
 * @throws UserError where an option or the number of ranks can't be
 */
export async function openDecoder(model: StoredModel, options: ModelOptions = {}, ranks = 1): Promise<Decoder> {
  const chosen = chooseOptions(model, options);
  checkRanks(model.shape, ranks, inBlocks(model, chosen.weights));
  return new Promise((resolve, reject) => {
    let ended: Promise<unknown>;
    const rank = async (group: ProcessGroup) => {
      if (group.rank > 0) return follow(model, chosen, group);
      await new Promise<void>((closed) => {
        resolve(
          new GroupDecoder(model, chosen, group, async () => {
            closed();
            await ended;
            model.close();
          }),
        );
      });
    };
    ended = spmd(ranks, rank).catch(reject);
  });
}

/** The other ranks' end: does what the first one says until it says the end. */
async function follow(model: StoredModel, chosen: ChosenOptions, group: ProcessGroup): Promise<void> {
  const check = new RowCheck({ vocabulary: model.shape.vocabulary, ...chosen });
  const rank = loadRank(model, chosen, ranksOf(group));
  try {
    for (;;) {
      const [what = END, a = 0, b = 0, c = 0] = await told(group, new Int32Array(4));
      if (what === END) return;
      if (what === COPY) {
        check.copy(a, b, c);
        rank.copySlot(a, b, c);
      }
      if (what === STEP) {
        const rows = rowsOfWords(await told(group, new Int32Array(4 * a)));
        check.step(rows);
        await gatherParts(group, model.shape.vocabulary, rows, await rank.compute(rows));
      }
    }
  } finally {
    rank.dispose();
  }
}

/** The first rank's words, on every rank. */
async function told(group: ProcessGroup, words: Int32Array): Promise<Int32Array> {
  const mine = hostInts(words, [words.length]);
  const sending = group.broadcast(mine, 0);
  mine.dispose();
  const theirs = await sending;
  const copy = Int32Array.from(await read(theirs));
  theirs.dispose();
  return copy;
}

/** How many tokens of the vocabulary each rank has. */
const slicesOf = (vocabulary: number, ranks: number): number[] =>
  Array.from({ length: ranks }, (_, rank) => lengthOf(evenPart(vocabulary, rank, ranks)));

/** Every rank's part of the logits, merged: [one of each row that wants some]. */
async function gatherParts(group: ProcessGroup, vocabulary: number, rows: readonly Row[], own: readonly Logits[]) {
  const wanted = wantedOf(rows);
  if (wanted.length === 0) return [];
  if (group.size === 1) return mergeRows([own], wanted);
  const slices = slicesOf(vocabulary, group.size);
  const lengths = slices.map((slice) => partWords(wanted, slice));
  const words = wordsOfParts(own);
  const mine = hostInts(words, [words.length]);
  const gathering = group.allGather(mine, 0, lengths);
  mine.dispose();
  const gathered = await gathering;
  const all = Int32Array.from(await read(gathered));
  gathered.dispose();
  let at = 0;
  const parts = slices.map((slice, rank) => {
    const from = at;
    at += lengths[rank] as number;
    return partsOfWords(all.subarray(from, at), wanted, slice);
  });
  return mergeRows(parts, wanted);
}

/** What this rank's collectives come to so far: milliseconds waited, bytes sent, and of them those of sums. */
interface Totals {
  readonly waited: number;
  readonly sent: number;
  readonly reduced: number;
}

class GroupDecoder implements Decoder {
  readonly vocabulary: number;
  readonly slots: number;
  readonly maxSeqLength: number;
  readonly maxRows: number;
  readonly ranks: number;
  cost: StepCost = { total: 0, transfer: 0, sent: 0, received: 0 };
  readonly #group: ProcessGroup;
  readonly #rank: RankModel;
  readonly #check: RowCheck;
  readonly #closed: () => Promise<void>;

  constructor(model: StoredModel, chosen: ChosenOptions, group: ProcessGroup, closed: () => Promise<void>) {
    this.vocabulary = model.shape.vocabulary;
    this.slots = chosen.slots;
    this.maxSeqLength = chosen.maxSeqLength;
    this.maxRows = chosen.maxRows;
    this.ranks = group.size;
    this.#group = group;
    this.#check = new RowCheck(this);
    this.#rank = loadRank(model, chosen, ranksOf(group));
    this.#closed = closed;
  }

  async step(rows: readonly Row[]): Promise<Logits[]> {
    this.#check.step(rows);
    const before = this.#totals();
    const start = performance.now();
    const logits = await this.#compute(rows);
    this.cost = this.#costSince(start, before, wantedOf(rows));
    return logits;
  }

  async copySlot(from: number, to: number, length: number): Promise<void> {
    this.#check.copy(from, to, length);
    if (this.ranks > 1) await told(this.#group, Int32Array.of(COPY as number, from, to, length));
    this.#rank.copySlot(from, to, length);
  }

  async close(): Promise<void> {
    if (this.ranks > 1) await told(this.#group, Int32Array.of(END as number, 0, 0, 0));
    this.#rank.dispose();
    await this.#closed();
  }

  async #compute(rows: readonly Row[]): Promise<Logits[]> {
    try {
      if (this.ranks > 1) {
        await told(this.#group, Int32Array.of(STEP as number, rows.length, 0, 0));
        await told(this.#group, wordsOfRows(rows));
      }
      return await gatherParts(this.#group, this.vocabulary, rows, await this.#rank.compute(rows));
    } catch (error) {
      this.#check.forget();
      throw error;
    }
  }

  #totals(): Totals {
    const totals = this.#group.recorder.totals();
    const reduced = totals.find(({ operation }) => operation === 'allReduce')?.bytes ?? 0;
    const sum = (key: 'waited' | 'bytes') => totals.reduce((all, each) => all + each[key], 0);
    return { waited: sum('waited'), sent: sum('bytes'), reduced };
  }

  /** In a sum over ranks each receives as much as it sends; in a gather, the others' parts; what to do, nothing. */
  #costSince(start: number, before: Totals, wanted: readonly Wanted[]): StepCost {
    const now = this.#totals();
    const others = slicesOf(this.vocabulary, this.ranks).slice(1);
    return {
      total: performance.now() - start,
      transfer: now.waited - before.waited,
      sent: now.sent - before.sent,
      received: now.reduced - before.reduced + 4 * others.reduce((sum, slice) => sum + partWords(wanted, slice), 0),
    };
  }
}
