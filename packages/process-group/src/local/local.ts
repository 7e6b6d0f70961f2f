/**
 * Ranks as coroutines: a whole world inside one process.
 *
 *     const sums = await spmd(4, async (world) => {
 *       const mine = tf.scalar(world.rank)
 *       return world.allReduce(mine)             // 0 + 1 + 2 + 3 on every rank
 *     })
 *
 * Every rank runs the same async function (SPMD: single program, multiple data). A collective is a meeting: the first
 * ranks to arrive wait, and the last one computes the results for all, who share them: tensors are never changed, so
 * sixteen ranks hold one copy. There are no threads and no sockets, so it runs in tests, notebooks and browsers.
 */

import { concat, slice } from '@fourfold/runtime/shapes';
import { share } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { type Call, type Reduction, specOf } from '../calls.ts';
import { ProcessGroup, type Transfer, type Transport } from '../process-group.ts';
import { reduceTensors } from '../tensors.ts';
import { allGatherBytes, allReduceBytes, bytesOf } from '../traffic.ts';
import { Place } from './place.ts';
import { LocalWorld } from './world.ts';

/**
 * Runs `rank` as `size` ranks; returns what each returned, in rank order. The first error of any rank ends all and is
 * thrown.
 *
 * @throws Error where all ranks wait for each other, saying which waits in which call
 */
export async function spmd<R>(size: number, rank: (world: ProcessGroup) => Promise<R>): Promise<R[]> {
  const world = new LocalWorld(size);
  const ranks = Array.from({ length: size }, (_, r) => r);
  const place = new Place(world, ranks);
  const outcomes = await Promise.allSettled(
    ranks.map((r) => {
      const transport = size > 1 ? new LocalTransport(place, r) : undefined;
      return world.run(r, () => rank(new ProcessGroup({ name: 'world', rank: r, ranks, transport })));
    }),
  );
  if (world.failure) throw world.failure;
  return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<R>).value);
}

/** One rank's way to a place. */
class LocalTransport implements Transport {
  readonly isLocal = true;
  readonly #place: Place;
  readonly #rank: number;
  #meetings = 0;

  constructor(place: Place, rank: number) {
    this.#place = place;
    this.#rank = rank;
  }

  get #size(): number {
    return this.#place.ranks.length;
  }

  allReduce(x: Tensor, reduction: Reduction, call: Call): Promise<Tensor> {
    call.bytes = allReduceBytes(specOf(x), this.#rank, this.#size);
    return this.#meet(call, x, (xs) => this.#toAll(reduceTensors(xs, reduction)));
  }

  allGather(x: Tensor, axis: number, _sizes: readonly number[], call: Call): Promise<Tensor> {
    call.bytes = allGatherBytes(specOf(x), this.#size);
    return this.#meet(call, x, (xs) => this.#toAll(concat(xs, axis)));
  }

  reduceScatter(x: Tensor, reduction: Reduction, axis: number, call: Call): Promise<Tensor> {
    call.bytes = bytesOf(specOf(x)) - bytesOf(specOf(x)) / this.#size;
    return this.#meet(call, x, (xs) => {
      const whole = reduceTensors(xs, reduction);
      const parts = xs.map((_, r) => this.#part(whole, axis, r));
      whole.dispose();
      return parts;
    });
  }

  broadcast(x: Tensor, root: number, call: Call): Promise<Tensor> {
    call.bytes = this.#rank === root ? (this.#size - 1) * bytesOf(specOf(x)) : 0;
    return this.#meet(call, x, (xs) => xs.map(() => share(xs[root] as Tensor)));
  }

  allToAll(x: Tensor, axis: number, call: Call): Promise<Tensor> {
    call.bytes = bytesOf(specOf(x)) - bytesOf(specOf(x)) / this.#size;
    return this.#meet(call, x, (xs) =>
      xs.map((_, to) => {
        const parts = xs.map((theirs) => this.#part(theirs, axis, to));
        const joined = concat(parts, axis);
        tf.dispose(parts);
        return joined;
      }),
    );
  }

  async sendReceive(transfers: readonly Transfer[], call: Call): Promise<Tensor[]> {
    const received: (Tensor | undefined)[] = transfers.map(() => undefined);
    try {
      await this.#exchange(transfers, call, received);
    } catch (error) {
      tf.dispose(received); // those that came before the failure
      throw error;
    }
    return received.filter((one) => one !== undefined);
  }

  /** Puts into `received[i]` what transfer i receives. */
  #exchange(transfers: readonly Transfer[], call: Call, received: (Tensor | undefined)[]): Promise<void> {
    return this.#place.world.enter<void>(this.#place.ranks[this.#rank] as number, call, (resolve) => {
      let left = transfers.length;
      for (const [i, transfer] of transfers.entries()) {
        const taken = (tensor: Tensor | undefined) => {
          received[i] = tensor;
          left -= 1;
          if (left === 0) resolve();
        };
        if ('send' in transfer) {
          const { send } = transfer;
          call.bytes += bytesOf(specOf(send));
          this.#place.post(this.#rank, transfer.to, 'send', { call, spec: specOf(send), sent: send, taken });
        } else {
          const message = { call, spec: transfer.like, sent: undefined, taken };
          this.#place.post(transfer.receiveFrom, this.#rank, 'receive', message);
        }
      }
    });
  }

  barrier(call: Call): Promise<void> {
    return this.#meet<undefined, void>(call, undefined, (all) => all);
  }

  async subset(members: readonly number[], call: Call): Promise<Transport> {
    const place = await this.#meet<readonly number[], Place>(call, members, (lists) => {
      const places = new Map(lists.map((list) => [list[0], this.#place.of(list)])); // one for each first member
      return lists.map((list) => places.get(list[0]) as Place);
    });
    return new LocalTransport(place, members.indexOf(this.#rank));
  }

  waiting(): void {
    this.#place.world.lookForDeadlock();
  }

  async close(): Promise<void> {}

  /** Brings x to this rank's next meeting; the last rank's `compute` makes the results of all. */
  #meet<X, Y>(call: Call, x: X, compute: (xs: X[]) => Y[]): Promise<Y> {
    const number = this.#meetings++;
    return this.#place.world.enter<Y>(this.#place.ranks[this.#rank] as number, call, (resolve) => {
      const guest = { rank: this.#rank, call, value: x, resolve: resolve as (result: unknown) => void };
      this.#place.meet(number, guest, compute as (values: unknown[]) => unknown[]);
    });
  }

  /** The result that every rank gets: the same tensor, held by each. */
  #toAll(y: Tensor): Tensor[] {
    return this.#place.ranks.map((_, r) => (r === 0 ? y : share(y)));
  }

  #part(x: Tensor, axis: number, rank: number): Tensor {
    const length = (x.shape[axis] as number) / this.#size;
    return slice(x, axis, rank * length, length);
  }
}
