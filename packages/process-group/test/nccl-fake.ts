/** Imitations for tests without GPUs: one rank's native module, and the ops as if its peers answered. */
import type { Attribute } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { Call, Recorder } from '../src/calls.ts';
import type { NativeNccl } from '../src/nccl/native.ts';
import { NcclTransport, Session } from '../src/nccl/nccl.ts';
import { ProcessGroup } from '../src/process-group.ts';

/** A native module that writes down what it is asked, and a handle to cause trouble. */
export class FakeNative implements NativeNccl {
  readonly log: string[] = [];
  id: Uint8Array | undefined;
  trouble: (sentence: string) => void = () => {};
  readonly #gpu: number;
  #tickets = 0;
  #timed = 0;

  constructor(gpu = 0) {
    this.#gpu = gpu;
  }

  version = () => '2.27.3';
  uniqueId = () => Uint8Array.from({ length: 128 }, (_, i) => 255 - i);
  gpu = () => new Uint8Array(16).fill(this.#gpu);
  join = async (id: Uint8Array, size: number, rank: number, timeout: number) => {
    this.id = id;
    this.log.push(`join ${size} ${rank} ${timeout}`);
    return 0;
  };
  split = async (comm: number, color: number, key: number) => {
    this.log.push(`split ${comm} ${color} ${key}`);
    return color < 0 ? -1 : comm + 1;
  };
  close = async (comm: number, abort: boolean) => {
    this.log.push(`close ${comm} ${abort}`);
  };
  ticket = (comm: number, call: string) => {
    this.log.push(`ticket ${comm} ${call}`);
    return this.#tickets++;
  };
  wait = (comm: number, ticket: number) => {
    this.log.push(`wait ${comm} ${ticket}`);
  };
  /** Every collective ends in time: that with ticket t starts at 10 t milliseconds and takes 5. */
  startTiming = (base: number) => {
    this.log.push(`start timing at ${base}`);
    this.#timed = this.#tickets;
  };
  stopTiming = () => {
    this.log.push('stop timing');
    const tickets = Array.from({ length: this.#tickets - this.#timed }, (_, i) => this.#timed + i);
    return tickets.map((ticket): [number, number, number] => [ticket, 10 * ticket, 10 * ticket + 5]);
  };
  drained = async () => {
    this.log.push('drained');
  };
  watch = (onTrouble: (sentence: string) => void) => {
    this.trouble = onTrouble;
  };
  endWithin = (seconds: number) => {
    this.log.push(`end within ${seconds}`);
  };
}

/** What rank r brings where rank `own` brings x: x + r - own. */
export const peersOf = (x: Tensor, own: number, size: number): Tensor[] =>
  Array.from({ length: size }, (_, r) => tf.add(x, tf.scalar(r - own, x.dtype)));

const sumOf = (xs: Tensor[]): Tensor => xs.reduce((a, b) => tf.add(a, b));

/** The ops' definitions, all of them along axis 0. */
export function runOp(op: string, inputs: Tensor[], attributes: Attribute[], rank: number, size: number): Tensor[] {
  const attribute = (name: string) => attributes.find((one) => one.name === name)?.value as number;
  const [x, sizes] = inputs as [Tensor, Tensor | undefined];
  const xs = peersOf(x, rank, size);
  const reduced = () => {
    const largest = () => xs.reduce((a, b) => tf.maximum(a, b));
    return [() => sumOf(xs), () => tf.div(sumOf(xs), size), largest][attribute('reduction')]?.() as Tensor;
  };
  switch (op) {
    case 'FourfoldNcclAllReduce':
      return [reduced()];
    case 'FourfoldNcclReduceScatter':
      return [tf.split(reduced(), size, 0)[rank] as Tensor];
    case 'FourfoldNcclAllGather':
      return [tf.concat(xs, 0)];
    case 'FourfoldNcclAllGatherUneven': {
      const rows = (sizes as Tensor).dataSync(); // peers bring as many of their first row as they have to
      const parts = xs.map((one, r) => (r === rank ? one : tf.tile(tf.slice(one, 0, 1), [rows[r] as number, 1])));
      return [tf.concat(parts, 0)];
    }
    case 'FourfoldNcclBroadcast':
      return [xs[attribute('root')] as Tensor];
    case 'FourfoldNcclAllToAll':
      return [
        tf.concat(
          xs.map((one) => tf.split(one, size, 0)[rank] as Tensor),
          0,
        ),
      ];
    default:
      throw new Error(`no imitation of ${op}`);
  }
}

/** A rank of a group whose members answer as peersOf says. */
export function makeRank(rank: number, size: number) {
  const native = new FakeNative(rank);
  const failures: Error[] = [];
  const ran: { op: string; attributes: Record<string, unknown>; inputs: number }[] = [];
  const session = new Session(
    native,
    5,
    (error) => failures.push(error),
    (op, inputs, attributes) => {
      ran.push({ op, attributes: Object.fromEntries(attributes.map((a) => [a.name, a.value])), inputs: inputs.length });
      native.log.push(op);
      return tf.tidy(() => runOp(op, inputs, attributes, rank, size));
    },
  );
  const ranks = Array.from({ length: size }, (_, r) => r);
  const unused = new NcclTransport(session, -1, new ProcessGroup({ name: 'alone', rank: 0, ranks: [0] }));
  const control = new ProcessGroup({ name: 'control', rank, ranks, transport: unused }); // knows rank and size
  const transport = new NcclTransport(session, 0, control);
  const recorder = new Recorder();
  const group = new ProcessGroup({ name: 'world', rank, ranks, transport, recorder });
  return { native, session, transport, group, recorder, failures, ran };
}

export const newCall = (): Call => new Call('allReduce', 'a call', 'world', [1]);
