/** Ranks with lanes, each a process: this file forked. What each finds out it sends to its parent, and then waits. */
import { fork } from 'node:child_process';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { keyOf, openBackend, uniforms } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { type Lanes, openLanes, type TransferFormat } from '../src/lanes/lanes.ts';

export interface LaneJob {
  readonly ranks: number;
  readonly format: TransferFormat;
  /** Sums of random [rows, dim]. */
  readonly sums: readonly (readonly [rows: number, dim: number])[];
  /** Whether all sums begin with the same numbers. */
  readonly sameNumbers?: boolean;
  /** Bytes of each rank for a gather after the sums. */
  readonly gather?: readonly number[];
  /** What a rank does instead of its last sum. */
  readonly fault?: { readonly rank: number; readonly does: 'exit' | 'stop' };
  readonly timeoutMs?: number;
}

export interface LaneResult {
  readonly rank: number;
  /** Their bytes, in base64. */
  readonly sums: string[];
  readonly gathered: number[][];
  readonly sent: number;
  readonly received: number;
  readonly error: string;
}

/** What rank `rank` brings to the i-th sum, and what all have already (rank -1). */
export const valuesOf = (rank: number, i: number, count: number): Float32Array =>
  Float32Array.from(uniforms(keyOf(7, `${rank} ${i}`), 0, count), (u) => u - 0.5);

/** Runs the job; the results by rank, of those that had something to say. */
export async function runLanes(job: LaneJob): Promise<LaneResult[]> {
  const ranks = [...Array(job.ranks).keys()];
  const program = fileURLToPath(import.meta.url);
  const children = ranks.map(() => fork(program, [], { execArgv: ['--import', 'tsx'] }));
  const next = <T>(child: (typeof children)[number]) =>
    new Promise<T>((resolve) => {
      child.once('message', (message) => resolve(message as T));
      child.once('exit', () => resolve(undefined as T));
    });
  try {
    const ports = await Promise.all(children.map((child) => next<number>(child)));
    const met = children.map((child) => next<string>(child));
    for (const [rank, child] of children.entries()) child.send({ rank, ports, job });
    await Promise.all(met);
    const results = children.map((child) => next<LaneResult>(child));
    for (const child of children) child.send('go');
    const { fault } = job;
    const told = results.filter((_, rank) => rank !== fault?.rank);
    return await Promise.all(told);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

// ## A rank

async function runRank(tell: (message: unknown) => void): Promise<void> {
  await openBackend({ device: 'cpu', threads: 1 });
  const arrivals: net.Socket[] = [];
  const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) => arrivals.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const told = once();
  tell((server.address() as net.AddressInfo).port);
  const { rank, ports, job } = (await told) as { rank: number; ports: number[]; job: LaneJob };
  const lanes = await meet(rank, ports, job, arrivals);
  const go = once();
  tell('met');
  await go;
  tell(compute(lanes, job));
}

const once = () => new Promise<unknown>((resolve) => process.once('message', resolve));

/** Higher ranks dial lower ones, and say who they are in one byte. */
async function meet(rank: number, ports: readonly number[], job: LaneJob, arrivals: net.Socket[]): Promise<Lanes> {
  const sockets: (net.Socket | undefined)[] = ports.map(() => undefined);
  for (let peer = 0; peer < rank; peer++) {
    const socket = net.connect({ port: ports[peer] as number, host: '127.0.0.1', noDelay: true });
    await new Promise((resolve) => socket.write(Uint8Array.of(rank), resolve));
    sockets[peer] = socket;
  }
  while (arrivals.length < job.ranks - 1 - rank) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const socket of arrivals) {
    const first = await new Promise<Buffer>((resolve) => {
      socket.once('readable', () => resolve(socket.read(1) as Buffer));
    });
    sockets[first[0] as number] = socket;
  }
  const names = ports.map((_, r) => `rank ${r}`);
  return openLanes({ rank, sockets, names, format: job.format, timeoutMs: job.timeoutMs ?? 20_000 });
}

function compute(lanes: Lanes, { sums, gather, fault, sameNumbers }: LaneJob): LaneResult {
  const result = { rank: lanes.rank, sums: [] as string[], gathered: [] as number[][], error: '' };
  try {
    for (const [i, [rows, dim]] of sums.entries()) {
      if (fault?.rank === lanes.rank && i === sums.length - 1)
        if (fault.does === 'exit') process.exit(1);
        else process.kill(process.pid, 'SIGSTOP');
      const [part, onto] = [lanes.rank, -1].map((r) =>
        tf.tensor(valuesOf(r, sameNumbers ? 0 : i, rows * dim), [rows, dim]),
      );
      const y = Float32Array.from(lanes.sum(part as tf.Tensor, onto as tf.Tensor).dataSync());
      result.sums.push(Buffer.from(y.buffer).toString('base64'));
    }
    if (gather) {
      const own = new Uint8Array(gather[lanes.rank] ?? 0).fill(lanes.rank + 1);
      result.gathered.push(...lanes.gather(own, gather).map((bytes) => [...bytes]));
    }
  } catch (error) {
    result.error = (error as Error).message;
  }
  const { sent, received } = lanes.cost;
  return { ...result, sent, received };
}

if (process.argv[1] === fileURLToPath(import.meta.url) && process.send) await runRank(process.send.bind(process));
