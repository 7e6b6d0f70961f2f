/**
 * The root: reads the model, is rank 0 of those that share it, and tells the workers what to compute.
 *
 *     const decoder = await connectWorkers({ model, workers: [{ host: '10.0.0.2', port: 9998 }], ... })
 *     const [logits] = await decoder.step([{ token, slot: 0, position: 0, wanted: 1 }])
 *
 * A step goes to all workers as one small packet; all compute it, and meet in each layer's two sums. What they
 * find comes back over the lanes. Nothing of a step is repeated: when a worker is lost, so are the step and all caches,
 * and the error names the worker.
 */
import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { introduce, socketStream, within } from '@fourfold/process-group/handshake';
import { type Lanes, openLanes, type TransferFormat } from '@fourfold/process-group/lanes';
import { messageOf, RunError, UserError } from '@fourfold/runtime/errors';
import type { Decoder, Logits, Row, StepCost } from '../decoder.ts';
import { type ChosenOptions, inBlocks, loadRank } from '../load.ts';
import type { RankModel } from '../rank-model.ts';
import { RowCheck } from '../row-check.ts';
import { checkRanks, EMBEDDING, shareOf } from '../slices.ts';
import type { StoredModel } from '../stored.ts';
import { Control } from './control.ts';
import { gatherLogits, lanesAsRanks } from './lane-ranks.ts';
import { type Address, fingerprintOf, nameOf, type Offer, parseAnswer } from './offer.ts';
import { encodeStep } from './packet.ts';
import { sendShare } from './stream.ts';

export interface RootOptions {
  readonly version: string;
  readonly secret: string;
  /** Closed with the decoder. */
  readonly model: StoredModel;
  /** Where the model's weights are drawn: their format. */
  readonly random?: Offer['random'];
  readonly sharing: ChosenOptions;
  readonly workers: readonly Address[];
  readonly transfers: TransferFormat;
  readonly timeoutMs: number;
  readonly log: (line: string) => void;
}

/** A worker, as the root has it. */
interface Seat {
  readonly address: Address;
  readonly control: Control;
  readonly hasModel: boolean;
}

/**
 * Connects with all workers, gives each its share of the model, and loads this rank's.
 *
 * @throws UserError where one can't be reached or refuses, by its address and its reason
 */
export async function connectWorkers(options: RootOptions): Promise<Decoder> {
  const { model, workers, sharing, log } = options;
  checkRanks(model.shape, workers.length + 1, inBlocks(model, sharing.weights));
  const opened: { close(): void }[] = [];
  try {
    const session = randomInt(1e9);
    const seats = await allOf(workers.map((address, i) => offerTo(address, i + 1, session, options, opened)));
    for (const { control } of seats) control.send('meet');
    const lanes = await meet(session, seats, options, opened);
    opened.push(lanes);
    const rank = await loadAll(seats, lanes, options);
    log(`${seats.length + 1} ranks share the model`);
    return new RootDecoder({ ...options, seats, lanes, rank });
  } catch (error) {
    for (const one of opened) one.close();
    throw error instanceof RunError ? new UserError(error.message) : error;
  }
}

/** All results; where one fails, its error, once none is under way any more that would have to be closed. */
async function allOf<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

async function dial(
  address: Address,
  purpose: 'root' | 'lane',
  session: number,
  options: RootOptions,
): Promise<Socket> {
  const socket = connect({ ...address, noDelay: true, keepAlive: true });
  const hello = { purpose, rank: 0, worldSize: options.workers.length + 1, attempt: session };
  try {
    await within(options.timeoutMs, socket, introduce(socketStream(socket), options.secret, hello));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === 'ECONNREFUSED' ? 'nobody listens there: start npx fourfold worker' : messageOf(error);
    throw new UserError(`worker ${nameOf(address)} can't be had: ${why}`);
  }
  return socket;
}

/** Offers a worker its rank, and hears whether it has the model. */
async function offerTo(
  address: Address,
  rank: number,
  session: number,
  options: RootOptions,
  opened: { close(): void }[],
): Promise<Seat> {
  const { version, model, random, sharing, workers, transfers, timeoutMs } = options;
  const socket = await dial(address, 'root', session, options);
  const control = new Control(socket, `worker ${nameOf(address)}`, timeoutMs);
  opened.push(control);
  const { shape } = model;
  const fingerprint = random ? '' : fingerprintOf(model);
  const offer = { version, session, rank, workers, shape, fingerprint, random, sharing, transfers, timeoutMs };
  control.tell('offer', offer);
  return { address, control, hasModel: parseAnswer(await control.expect('answer'), control.name) };
}

/** A lane to each worker, and each worker's word that it has its own. */
async function meet(
  session: number,
  seats: readonly Seat[],
  options: RootOptions,
  opened: { close(): void }[],
): Promise<Lanes> {
  const dialed = seats.map(async ({ address }) => {
    const socket = await dial(address, 'lane', session, options);
    opened.push({ close: () => void socket.destroy() });
    return socket;
  });
  const names = seats.map(({ address }, i) => `worker ${nameOf(address)} (rank ${i + 1})`);
  const sockets = await allOf(dialed);
  const { transfers: format, timeoutMs } = options;
  const lanes = openLanes({
    rank: 0,
    sockets: [undefined, ...sockets],
    names: ['the root', ...names],
    format,
    timeoutMs,
  });
  await Promise.all(seats.map(({ control }) => control.expect('met')));
  return lanes;
}

/** All ranks load their shares: the workers from their disks, or with what the root sends them. */
async function loadAll(seats: readonly Seat[], lanes: Lanes, { model, sharing, log }: RootOptions): Promise<RankModel> {
  const inParts = inBlocks(model, sharing.weights);
  const given = seats.map(async ({ control, hasModel }, i) => {
    if (!hasModel) {
      const { sent, had } = await sendShare(control, model, shareOf(model.shape, i + 1, seats.length + 1, inParts));
      log(`${control.name}: sent ${mb(sent)}, and it had ${mb(had)}`);
    }
    await control.expect('ready');
  });
  await Promise.all(given);
  return loadRank(model, sharing, lanesAsRanks(lanes));
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

// ## The decoder

interface Connected extends RootOptions {
  readonly seats: readonly Seat[];
  readonly lanes: Lanes;
  readonly rank: RankModel;
}

class RootDecoder implements Decoder {
  readonly vocabulary: number;
  readonly slots: number;
  readonly maxSeqLength: number;
  readonly maxRows: number;
  readonly ranks: number;
  cost: StepCost = { total: 0, transfer: 0, sent: 0, received: 0 };
  readonly #all: Connected;
  readonly #check: RowCheck;
  readonly #onLost: ((error: Error) => void)[] = [];
  #failure: Error | undefined;

  constructor(all: Connected) {
    this.vocabulary = all.model.shape.vocabulary;
    this.slots = all.sharing.slots;
    this.maxSeqLength = all.sharing.maxSeqLength;
    this.maxRows = all.sharing.maxRows;
    this.ranks = all.seats.length + 1;
    this.#all = all;
    this.#check = new RowCheck(this);
    for (const { control } of all.seats)
      control.onGone((error) => {
        if (this.#failure) return;
        this.#failure = error;
        for (const listener of this.#onLost) listener(error);
      });
  }

  onLost(listener: (error: Error) => void): void {
    this.#onLost.push(listener);
  }

  async step(rows: readonly Row[]): Promise<Logits[]> {
    if (this.#failure) throw this.#failure;
    this.#check.step(rows);
    const { lanes, rank } = this.#all;
    const before = this.#spent();
    const start = performance.now();
    this.#tellAll(rows);
    try {
      const logits = gatherLogits(lanes, this.vocabulary, rows, await rank.compute(rows));
      const after = this.#spent();
      this.cost = {
        total: performance.now() - start,
        transfer: after.milliseconds - before.milliseconds,
        sent: after.sent - before.sent,
        received: after.received - before.received,
      };
      return logits;
    } catch (error) {
      this.#check.forget();
      throw await this.#blamed(error as Error);
    }
  }

  async copySlot(from: number, to: number, length: number): Promise<void> {
    if (this.#failure) throw this.#failure;
    this.#check.copy(from, to, length);
    const body = new Uint8Array(Int32Array.of(from, to, length).buffer);
    for (const { control } of this.#all.seats) control.send('copy', body);
    this.#all.rank.copySlot(from, to, length);
  }

  async close(): Promise<void> {
    const { seats, lanes, rank, model } = this.#all;
    this.#failure ??= new RunError('this decoder is closed');
    for (const { control } of seats) control.close();
    lanes.close();
    rank.dispose();
    model.close();
  }

  #tellAll(rows: readonly Row[]): void {
    const { seats, model } = this.#all;
    const read = ({ token }: Row) => model.read(EMBEDDING, { rows: [token, token + 1] });
    const needsRows = seats.some(({ hasModel }) => !hasModel);
    const full = encodeStep(rows, needsRows ? Buffer.concat(rows.map(read)) : new Uint8Array(0));
    const short = encodeStep(rows, new Uint8Array(0));
    for (const { control, hasModel } of seats) control.send('step', hasModel ? short : full);
  }

  #spent() {
    const { seats, lanes } = this.#all;
    const { sent, received, milliseconds } = lanes.cost;
    const sum = (key: 'sent' | 'received') => seats.reduce((all, { control }) => all + control.traffic[key], 0);
    return { sent: sent + sum('sent'), received: received + sum('received'), milliseconds };
  }

  /**
   * Which worker it was. When one dies the others stop too, and say so: its own connection just closes, so that one
   * which says nothing is the one, or else what the first of the others says.
   */
  async #blamed(error: Error): Promise<Error> {
    if (!(error instanceof RunError)) return error;
    await sleep(200); // their last words are on the way
    const last = this.#all.seats.flatMap(({ control }) => (control.failure ? [control.failure] : []));
    const silent = last.find(({ message }) => !/ says: /.test(message));
    this.#failure = silent ?? last[0] ?? error;
    for (const { control } of this.#all.seats) control.close();
    return this.#failure;
  }
}
