/**
 * Where the ranks of one group meet, and leave messages for one another.
 */
import { share } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import { type Call, describe, type TensorSpec } from '../calls.ts';
import type { LocalWorld } from './world.ts';

/** What one rank brings to a meeting, and how it is told the outcome. */
export interface Guest {
  /** Its rank in the group. */
  readonly rank: number;
  readonly call: Call;
  readonly value: unknown;
  readonly resolve: (result: unknown) => void;
}

/** A message under way, from the side that came first. */
export interface Message {
  readonly call: Call;
  readonly spec: TensorSpec;
  /** The sender's tensor, or none if the receiver came first. */
  readonly sent: Tensor | undefined;
  readonly taken: (tensor: Tensor | undefined) => void;
}

/** One group's meetings, by their number in its order of calls, and its messages, by sender and receiver. */
export class Place {
  readonly world: LocalWorld;
  /** World ranks of the members. */
  readonly ranks: readonly number[];
  readonly #meetings = new Map<number, Guest[]>();
  readonly #messages = new Map<string, Message[]>();

  constructor(world: LocalWorld, ranks: readonly number[]) {
    this.world = world;
    this.ranks = ranks;
  }

  /** The place of some of its members. */
  of(members: readonly number[]): Place {
    return new Place(
      this.world,
      members.map((member) => this.ranks[member] as number),
    );
  }

  /** The `number`-th meeting of the group: with the last guest, `compute` makes each guest's result of all values. */
  meet(number: number, guest: Guest, compute: (values: unknown[]) => unknown[]): void {
    const guests = this.#meetings.get(number) ?? [];
    const first = guests.find((one) => one !== undefined);
    if (first && first.call.text !== guest.call.text) {
      this.world.fail(this.#mismatch(first, guest));
      return;
    }
    guests[guest.rank] = guest;
    this.#meetings.set(number, guests);
    if (Object.keys(guests).length < this.ranks.length) return;
    this.#meetings.delete(number);
    const results = compute(guests.map(({ value }) => value));
    for (const { rank, resolve } of guests) resolve(results[rank]);
  }

  /** Hands a message over if its other side is there, else leaves it. `side` is this one: 'send' or 'receive'. */
  post(from: number, to: number, side: 'send' | 'receive', message: Message): void {
    const other = this.#messages.get(`${side === 'send' ? 'receive' : 'send'} ${from} ${to}`)?.shift();
    if (!other) {
      const key = `${side} ${from} ${to}`;
      this.#messages.set(key, [...(this.#messages.get(key) ?? []), message]);
      return;
    }
    const [send, receive] = side === 'send' ? [message, other] : [other, message];
    if (describe(send.spec) !== describe(receive.spec)) {
      const [sender, receiver] = [this.ranks[from], this.ranks[to]];
      const words = [
        `rank ${sender} sends ${describe(send.spec)}`,
        `rank ${receiver} receives ${describe(receive.spec)}`,
      ];
      this.world.fail(new Error(`${words.join(', but ')} (group ${send.call.group})`));
      return;
    }
    receive.taken(share(send.sent as Tensor));
    send.taken(undefined);
  }

  #mismatch(a: Guest, b: Guest): Error {
    const [one, other] = [a, b].map(({ rank, call }) => `rank ${this.ranks[rank]} calls ${call.text}`);
    return new Error(`${one}, but ${other} (group ${a.call.group})`);
  }
}
