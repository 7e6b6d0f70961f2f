/** Ranks with lanes, each a process: this file forked. They do one job after another, and tell their parent of each. */
import { type ForkOptions, fork } from 'node:child_process';
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
  readonly sums: Float32Array[];
  readonly gathered: number[][];
  readonly sent: number;
  readonly received: number;
  readonly error: string;
}

/** What rank `rank` brings to the i-th sum, and what all have already (rank -1). */
export function valuesOf(rank: number, i: number, count: number): Float32Array {
  const drawn = uniforms(keyOf(7, `${rank} ${i}`), 0, Math.min(count, 2 ** 18)); // for more, again and again
  return Float32Array.from({ length: count }, (_, k) => (drawn[k % drawn.length] as number) - 0.5);
}

export interface LaneRanks {
  /** Runs a job on the first of the ranks; the results by rank, of those that had something to say. */
  run(job: LaneJob): Promise<LaneResult[]>;
  stop(): void;
}

/** Starts so many ranks, for jobs one after another. One that had a fault can't do any more. */
export async function startLaneRanks(count: number): Promise<LaneRanks> {
  const program = fileURLToPath(import.meta.url);
  const how: ForkOptions = { execArgv: ['--import', 'tsx'], serialization: 'advanced' };
  const children = Array.from({ length: count }, () => fork(program, [], how));
  const gone = children.map((child) => new Promise<undefined>((done) => child.once('exit', () => done(undefined))));
  /** What each of the first `size` ranks says next; undefined where it ends instead. */
  const next = <T>(size: number): Promise<T>[] =>
    children.slice(0, size).map((child, rank) => {
      const said = new Promise<T>((resolve) => child.once('message', (message) => resolve(message as T)));
      return Promise.race([said, gone[rank] as Promise<T>]);
    });
  const ports = await Promise.all(next<number>(count));
  return {
    async run(job) {
      const asked = children.slice(0, job.ranks);
      const met = next<string>(job.ranks);
      for (const [rank, child] of asked.entries()) child.send({ rank, ports: ports.slice(0, job.ranks), job });
      await Promise.all(met);
      const results = next<LaneResult>(job.ranks);
      for (const child of asked) child.send('go');
      return Promise.all(results.filter((_, rank) => rank !== job.fault?.rank));
    },
    stop() {
      for (const child of children) child.kill('SIGKILL');
    },
  };
}

// ## A rank

async function runRank(tell: (message: unknown) => void): Promise<void> {
  await openBackend({ device: 'cpu', threads: 1 });
  const arrivals: net.Socket[] = [];
  const server = net.createServer({ noDelay: true, pauseOnConnect: true }, (socket) => arrivals.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  for (let answer: unknown = port; ; ) {
    const told = once();
    tell(answer);
    const { rank, ports, job } = (await told) as { rank: number; ports: number[]; job: LaneJob };
    const lanes = await meet(rank, ports, job, arrivals);
    const go = once();
    tell('met');
    await go;
    answer = compute(lanes, job);
    lanes.close();
  }
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
  for (const socket of arrivals.splice(0)) {
    const first = await new Promise<Buffer>((resolve) => {
      socket.once('readable', () => resolve(socket.read(1) as Buffer));
    });
    sockets[first[0] as number] = socket;
  }
  const names = ports.map((_, r) => `rank ${r}`);
  return openLanes({ rank, sockets, names, format: job.format, timeoutMs: job.timeoutMs ?? 20_000 });
}

function compute(lanes: Lanes, { sums, gather, fault, sameNumbers }: LaneJob): LaneResult {
  const result = { rank: lanes.rank, sums: [] as Float32Array[], gathered: [] as number[][], error: '' };
  try {
    for (const [i, [rows, dim]] of sums.entries()) {
      if (fault?.rank === lanes.rank && i === sums.length - 1)
        if (fault.does === 'exit') process.exit(1);
        else process.kill(process.pid, 'SIGSTOP');
      const [part, onto] = [lanes.rank, -1].map((r) =>
        tf.tensor(valuesOf(r, sameNumbers ? 0 : i, rows * dim), [rows, dim]),
      );
      const y = lanes.sum(part as tf.Tensor, onto as tf.Tensor);
      result.sums.push(Float32Array.from(y.dataSync()));
      tf.dispose([part as tf.Tensor, onto as tf.Tensor, y]);
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
