/**
 * All-reduce between processes, ours and PyTorch's in turn: gloo on the CPU, NCCL on GPUs.
 *
 *     npx nx run bench:collectives                                   2 and 4 ranks on loopback, 4 KB to 64 MB
 *     npx nx run bench:collectives -- --transport nccl --ranks 2     between GPUs, up to 256 MB
 *
 * Bus bandwidth is what NCCL's own tests call so: 2 (n-1)/n of the bytes, which every rank must send, by the time. Each
 * side's ranks are processes of one thread, started anew each round; the medians of all calls of all rounds count.
 */
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { inWorld } from '@fourfold/process-group';
import { freePort } from '@fourfold/process-group/machine';
import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { z } from 'zod';

const KB = 1024;

const settings = z.object({
  transport: z.enum(['tcp', 'nccl']).default('tcp').describe('what carries the tensors'),
  ranks: z.array(z.int().min(2)).default([2, 4]).describe('how many processes'),
  sizes: z.array(z.int().positive()).default([]).describe('KB of a tensor; default: 4 to 65536, nccl: to 262144'),
  rounds: z.int().positive().default(3).describe('turns of each side'),
  algorithm: z.enum(['direct', 'ring']).default('direct').describe('of ours over tcp'),
  python: z.string().default('python3').describe('a Python that can import torch'),
});
type Settings = z.infer<typeof settings>;

/** What a rank is to do; it prints milliseconds of each call by size, as JSON. */
interface Task {
  readonly transport: 'tcp' | 'nccl';
  readonly algorithm: 'direct' | 'ring';
  readonly sizes: readonly number[];
}
type Timings = Record<string, number[]>;

const sizesOf = ({ sizes, transport }: Settings): number[] => {
  if (sizes.length > 0) return sizes;
  const last = transport === 'nccl' ? 9 : 8;
  return Array.from({ length: last }, (_, i) => 4 * 4 ** i).map((size) => Math.min(size, 262_144));
};

/** Runs a command as n ranks; what rank 0 prints last. */
async function runRanks(n: number, command: string, args: readonly string[], gpus: boolean): Promise<Timings> {
  const port = String(await freePort());
  const ranks = Array.from({ length: n }, (_, rank) => {
    const place = { RANK: String(rank), LOCAL_RANK: String(rank), WORLD_SIZE: String(n), OMP_NUM_THREADS: '1' };
    const gpu = gpus ? { CUDA_VISIBLE_DEVICES: String(rank), NCCL_NVLS_ENABLE: '0' } : {};
    const env = { ...process.env, ...place, ...gpu, MASTER_ADDR: '127.0.0.1', MASTER_PORT: port };
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, errors]: [string[], string[]] = [[], []];
    child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
    return new Promise<string>((resolve, reject) => {
      child.on('close', (code) =>
        code === 0 ? resolve(out.join('')) : reject(new Error(errors.join('').slice(-2000))),
      );
    });
  });
  const [first] = await Promise.all(ranks);
  return JSON.parse((first as string).trim().split('\n').at(-1) as string) as Timings;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

async function race(n: number, config: Settings): Promise<void> {
  const { transport, algorithm, python, rounds } = config;
  const task: Task = { transport, algorithm, sizes: sizesOf(config) };
  const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));
  const hasTorch = spawnSync(python, ['-c', 'import torch']).status === 0;
  const [ours, torch]: [Timings, Timings] = [{}, {}];
  const add = (all: Timings, round: Timings) => {
    for (const [size, times] of Object.entries(round)) all[size] = [...(all[size] ?? []), ...times];
  };
  const gpus = transport === 'nccl';
  for (let round = 0; round < rounds; round++) {
    const json = JSON.stringify(task);
    add(ours, await runRanks(n, process.execPath, [...process.execArgv, script('collectives.ts'), 'rank', json], gpus));
    if (hasTorch) add(torch, await runRanks(n, python, [script('torch_collectives.py'), json], gpus));
  }
  report(n, task, ours, torch);
}

function report(n: number, { transport, algorithm, sizes }: Task, ours: Timings, torch: Timings): void {
  const peer = transport === 'nccl' ? "PyTorch's NCCL" : 'gloo';
  const way = transport === 'nccl' ? 'nccl' : `tcp, ${algorithm}`;
  console.log(
    `\n${n} ranks, all-reduce of float32 over ${way}; medians of ${ours[sizes[0] as number]?.length} calls and more`,
  );
  console.log(`${'KB'.padStart(8)}  ${'ours ms'.padStart(9)}  GB/s   ${peer.padStart(14)} ms  GB/s   ours / theirs`);
  for (const size of sizes) {
    const [mine, theirs] = [median(ours[size] ?? []), median(torch[size] ?? [])];
    const bandwidth = (ms: number) => ((size * KB * 2 * (n - 1)) / n / ms / 1e6).toFixed(2).padStart(6);
    const time = (ms: number, width: number) => `${ms.toFixed(3).padStart(width)} ${bandwidth(ms)}`;
    const times = `${time(mine, 9)}   ${time(theirs, 17)}`;
    console.log(`${String(size).padStart(8)}  ${times}   ${(mine / theirs).toFixed(2)} of the time`);
  }
}

// ## A rank of ours

/** Calls of a size (KB): enough for a median, and no more than some seconds. As in torch_collectives.py. */
const callsOf = (size: number, onGpu: boolean): number =>
  Math.floor(onGpu ? Math.max(100, Math.min(2000, 2e6 / size)) : Math.max(8, Math.min(300, 2e5 / size)));

/** Milliseconds of each call. GPU calls are queued without waiting for one another: their mean, once for each. */
async function timed(call: () => Promise<void>, count: number, wholeQueue?: () => Promise<void>): Promise<number[]> {
  for (let i = 0; i < 5 + (wholeQueue ? count : 0); i++) await call(); // thousands, until V8 has compiled all of it
  await wholeQueue?.();
  const begin = performance.now();
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await call();
    times.push(performance.now() - start);
  }
  if (!wholeQueue) return times;
  await wholeQueue();
  return Array(count).fill((performance.now() - begin) / count);
}

async function runRank({ transport, algorithm, sizes }: Task): Promise<void> {
  await openBackend({ device: transport === 'nccl' ? 'cuda' : 'cpu', threads: 1 });
  await inWorld({ transport, algorithm }, async (world) => {
    const timings: Timings = {};
    for (const size of sizes) {
      const x = tf.fill([size * 256], 0);
      const call = async () => (await world.allReduce(x)).dispose();
      const onGpu = transport === 'nccl';
      timings[size] = await timed(call, callsOf(size, onGpu), onGpu ? () => world.drained() : undefined);
      x.dispose();
    }
    if (world.rank === 0) console.log(JSON.stringify(timings));
  });
}

async function main(): Promise<void> {
  const usage = "Times all-reduce between processes, ours and PyTorch's in turn.";
  const name = 'nx run bench:collectives --';
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name, usage });
  for (const n of config.ranks) await race(n, config);
}

// A rank gets its task; anything else is a user's command line.
const [, , first, task] = process.argv;
await runMain(() => (first === 'rank' ? runRank(JSON.parse(task as string) as Task) : main()));
