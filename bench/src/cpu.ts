/**
 * A training step on the CPU, ours and PyTorch's in turn.
 *
 *     npx nx run bench:cpu                        float32, all cores
 *     npx nx run bench:cpu -- --shape small --threads 4 --dtype bfloat16 --rounds 5
 *
 * PyTorch runs where python3 (or --python) can import torch, in its default eager mode with as many threads. The two
 * take turns, round after round, so that a machine whose speed drifts is the same for both; medians of all steps count.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { type LlamaConfig, MODELS, parameterCount } from '@fourfold/model';
import { openBackend, profileOps, UserError } from '@fourfold/runtime';
import { z } from 'zod';
import { type Shape, trainingStep } from './step.ts';

const settings = z.object({
  shape: z.enum(['both', 'stories15M', 'small']).default('both').describe('which model to time'),
  threads: z.int().positive().default(availableParallelism()).describe('for both sides'),
  dtype: z.enum(['float32', 'bfloat16']).default('float32').describe('of our weights and activations'),
  torchDtype: z.enum(['float32', 'bfloat16']).default('float32').describe("of PyTorch's"),
  rounds: z.int().positive().default(3).describe('turns of each side'),
  steps: z.int().positive().default(8).describe('steps in a turn, after three that do not count'),
  python: z.string().default('python3').describe('a Python that can import torch'),
});
type Settings = z.infer<typeof settings>;

const stories = MODELS['stories15M'] as LlamaConfig;
const size = { layers: 4, dim: 128, heads: 4, kvHeads: 4, headDim: 32, ffn: 384, vocabulary: 512 };
const small = { ...stories, ...size, tied: false };
const SHAPES: Shape[] = [
  { name: 'stories15M', config: { ...stories, tied: false }, batch: 4, seq: 256 },
  { name: 'small', config: small, batch: 8, seq: 128 },
];

interface TorchRun {
  readonly version: string;
  readonly milliseconds: number[];
}

/** One turn of PyTorch; undefined where `python` can't import it. */
function runTorch(
  { config, batch, seq }: Shape,
  { threads, torchDtype: dtype, steps, python }: Settings,
): TorchRun | undefined {
  if (spawnSync(python, ['-c', 'import torch']).status !== 0) return undefined;
  const input = JSON.stringify({ ...config, batch, seq, threads, dtype, steps });
  const script = fileURLToPath(new URL('torch_step.py', import.meta.url));
  const { status, stdout, stderr } = spawnSync(python, [script], { input, encoding: 'utf8' });
  if (status !== 0) throw new Error(`PyTorch's step failed: ${stderr}`);
  return JSON.parse(stdout) as TorchRun;
}

/** One turn of ours. */
async function runOurs(step: () => Promise<number>, steps: number): Promise<number[]> {
  const milliseconds: number[] = [];
  for (let i = 0; i < steps + 3; i++) {
    const start = performance.now();
    await step();
    milliseconds.push(performance.now() - start);
  }
  return milliseconds.slice(3);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function race(shape: Shape, config: Settings): Promise<void> {
  const step = trainingStep(shape, config.dtype);
  const ours: number[] = [];
  const torch: number[] = [];
  let version = '';
  for (let round = 0; round < config.rounds; round++) {
    ours.push(...(await runOurs(step, config.steps)));
    const run = runTorch(shape, config);
    torch.push(...(run?.milliseconds ?? []));
    version = run?.version ?? '';
  }
  const { name, batch, seq } = shape;
  console.log(`\n${name}: ${(parameterCount(shape.config) / 1e6).toFixed(1)} M parameters, batch ${batch}, seq ${seq}`);
  const report = (who: string, times: number[]) => {
    const middle = median(times);
    const rate = Math.round((1000 * batch * seq) / middle);
    console.log(`  ${who.padEnd(28)} ${middle.toFixed(1).padStart(8)} ms  ${String(rate).padStart(7)} tok/s`);
  };
  report(`ours, ${config.dtype}`, ours);
  if (torch.length > 0) {
    report(`PyTorch ${version}, ${config.torchDtype}`, torch);
    const ratio = (median(torch) / median(ours)).toFixed(2);
    console.log(`  ours is ${ratio} times as fast (medians of ${ours.length} steps)`);
  } else console.log(`  ${config.python} can't import torch: no comparison`);
  await profile(step);
}

/** Where one step's time goes, by TensorFlow op. */
async function profile(step: () => Promise<number>): Promise<void> {
  const start = performance.now();
  const times = await profileOps(async () => void (await step()));
  const total = performance.now() - start;
  const row = (name: string, calls: number | string, milliseconds: number) => {
    const share = `${((100 * milliseconds) / total).toFixed(1).padStart(5)} %`;
    console.log(
      `    ${name.padEnd(22)} ${String(calls).padStart(5)} ${milliseconds.toFixed(1).padStart(9)} ms ${share}`,
    );
  };
  const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
  const rest = times.slice(10);
  console.log('  one step, op by op:');
  for (const { op, calls, milliseconds } of times.slice(0, 10)) row(op, calls, milliseconds);
  row('other ops', sum(rest.map(({ calls }) => calls)), sum(rest.map(({ milliseconds }) => milliseconds)));
  row('JavaScript', '', total - sum(times.map(({ milliseconds }) => milliseconds)));
}

async function main(): Promise<void> {
  const usage = "Times a training step on the CPU, ours and PyTorch's in turn.";
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name: 'nx run bench:cpu --', usage });
  if (config.rounds * config.steps < 5)
    throw new UserError(`rounds=${config.rounds} times steps=${config.steps} is too few for a median: use 5 in all`);
  const backend = await openBackend({ device: 'cpu', threads: config.threads });
  console.log(`${cpus()[0]?.model ?? 'unknown CPU'}, ${backend.description}`);
  for (const shape of SHAPES) if (config.shape === 'both' || config.shape === shape.name) await race(shape, config);
}

await runMain(main);
