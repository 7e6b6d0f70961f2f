/**
 * A worker's time with one root: from the offer to the day when one of them goes.
 *
 *     offer → answer → lanes to all ranks → weights → steps, until the root is gone
 *
 * What a worker holds of a model lives as long as the session: after it the memory is free, and slices that came over
 * the network are in the cache.
 */
import { connect, type Socket } from 'node:net';
import { inTime, introduce, socketStream, within } from '@fourfold/process-group/handshake';
import { type Lanes, openLanes } from '@fourfold/process-group/lanes';
import { messageOf, RunError } from '@fourfold/runtime/errors';
import { loadRank } from '../load.ts';
import { RowCheck } from '../row-check.ts';
import { EMBEDDING } from '../slices.ts';
import { bytesOf, type StoredModel } from '../stored.ts';
import type { Control } from './control.ts';
import { gatherLogits, lanesAsRanks } from './lane-ranks.ts';
import { fingerprintOf, nameOf, type Offer, parseOffer } from './offer.ts';
import { decodeStep } from './packet.ts';
import { randomModel } from './random-model.ts';
import type { SliceCache } from './slice-cache.ts';
import { type ReceivedModel, receiveShare } from './stream.ts';

export interface SessionOptions {
  readonly version: string;
  readonly secret: string;
  /** The worker's own model, where it has one. */
  readonly model: StoredModel | undefined;
  readonly cache: SliceCache;
  readonly log: (line: string) => void;
}

/** The lanes that other ranks open to this worker: the root, and those of higher rank. */
interface Arrivals {
  readonly offer: Offer;
  readonly promises: ReadonlyMap<number, Promise<Socket>>;
  readonly doors: Map<number, (socket: Socket) => void>;
  readonly sockets: Socket[];
}

export class Session {
  readonly #control: Control;
  readonly #options: SessionOptions;
  #arrivals: Arrivals | undefined;

  constructor(control: Control, options: SessionOptions) {
    this.#control = control;
    this.#options = options;
  }

  /** Why a lane may not come in, if so: each of those that are due is let in once. */
  refuseLane(session: number, rank: number): string | undefined {
    const isDue = this.#arrivals?.offer.session === session && this.#arrivals.doors.has(rank);
    return isDue ? undefined : `no lane of rank ${rank} is due here`;
  }

  enterLane(rank: number, socket: Socket): void {
    const enter = this.#arrivals?.doors.get(rank);
    this.#arrivals?.doors.delete(rank);
    this.#arrivals?.sockets.push(socket);
    enter?.(socket);
  }

  /** Serves the root until it goes, or something fails, of which the root is told. */
  async run(): Promise<void> {
    const made: (() => void)[] = [];
    try {
      await this.#serve((free) => made.unshift(free));
    } catch (error) {
      if (!this.#control.failure) this.#control.send('failure', Buffer.from(messageOf(error)));
      this.#options.log(messageOf(error));
    } finally {
      for (const free of made) free();
      for (const socket of this.#arrivals?.sockets ?? []) socket.destroy();
      this.#control.close();
    }
  }

  async #serve(onEnd: (free: () => void) => void): Promise<void> {
    const { offer, own } = await this.#answer();
    await this.#control.expect('meet');
    const lanes = await this.#meet(offer);
    onEnd(() => lanes.close());
    this.#control.send('met');
    const model = own ?? (await receiveShare(this.#control, this.#options.cache, offer.shape));
    const rank = loadRank(model, offer.sharing, lanesAsRanks(lanes));
    onEnd(() => rank.dispose());
    this.#control.send('ready');
    this.#options.log(`is rank ${offer.rank} of ${offer.workers.length + 1}`);
    const embeddingBytes = own ? 0 : bytesOf(model.tensors.get(EMBEDDING)?.format ?? 'f32', offer.shape.dim);
    const check = new RowCheck({ vocabulary: offer.shape.vocabulary, ...offer.sharing });
    for (;;) {
      const { kind, body } = await this.#control.next();
      if (kind === 'copy') {
        const copy = copyOf(body);
        check.copy(...copy);
        rank.copySlot(...copy);
      } else if (kind !== 'step') throw new RunError(`a '${kind}' came where a step was due`);
      else {
        const { rows, embeddings } = decodeStep(body, embeddingBytes);
        check.step(rows);
        if (!own)
          (model as ReceivedModel).putEmbeddings(
            rows.map(({ token }) => token),
            embeddings,
          );
        gatherLogits(lanes, offer.shape.vocabulary, rows, await rank.compute(rows));
      }
    }
  }

  /** Takes part, or throws why not. `own`: the model that needs no bytes of the root. */
  async #answer(): Promise<{ offer: Offer; own: StoredModel | undefined }> {
    const { version, model } = this.#options;
    const offer = parseOffer(await this.#control.expect('offer'), version);
    if (model && !offer.random && fingerprintOf(model) !== offer.fingerprint)
      throw new RunError(`its --model ${model.path} is another model than the root's`);
    const own = offer.random ? randomModel(offer.shape, offer.random) : model;
    const doors = new Map<number, (socket: Socket) => void>();
    const due = [0, ...offer.workers.map((_, i) => i + 1).filter((rank) => rank > offer.rank)];
    const arrival = (rank: number) => new Promise<Socket>((resolve) => doors.set(rank, resolve));
    this.#arrivals = { offer, doors, promises: new Map(due.map((rank) => [rank, arrival(rank)])), sockets: [] };
    this.#control.tell('answer', { hasModel: own !== undefined });
    return { offer, own };
  }

  /** A lane to each rank: those of lower rank are dialed, the others come. */
  async #meet({ rank, workers, session, transfers: format, timeoutMs }: Offer): Promise<Lanes> {
    const dial = async (peer: number) => {
      const socket = connect({ ...(workers[peer - 1] as { host: string; port: number }), noDelay: true });
      this.#arrivals?.sockets.push(socket);
      const hello = { purpose: 'lane', rank, worldSize: workers.length + 1, attempt: session } as const;
      await within(timeoutMs, socket, introduce(socketStream(socket), this.#options.secret, hello));
      return socket;
    };
    const names = ['the root', ...workers.map((address, i) => `worker ${nameOf(address)} (rank ${i + 1})`)];
    const lane = (_: string, peer: number) => {
      if (peer === rank) return undefined;
      const open = this.#arrivals?.promises.get(peer) ?? dial(peer);
      return inTime(timeoutMs, open, () => new RunError(`${names[peer]} was not met within ${timeoutMs / 1000} s`));
    };
    const gone = new Promise<never>((_, reject) => this.#control.onGone(reject));
    const sockets = await Promise.race([Promise.all(names.map(lane)), gone]);
    return openLanes({ rank, sockets, names, format, timeoutMs });
  }
}

/** From, to, length. */
function copyOf(body: Uint8Array): [number, number, number] {
  const [from, to, length] = body.length === 12 ? new Int32Array(body.slice().buffer) : [];
  if (from === undefined || to === undefined || length === undefined) throw new RunError('a copy has three numbers');
  return [from, to, length];
}
