/**
 * A training step on one GPU, ours and PyTorch's in turn: tokens a second, MFU and memory.
 *
 *     npx nx run bench:gpu                                             SmolLM-1.7B's shape, batch 4, seq 2048
 *     npx nx run bench:gpu -- --shape llm.c-124M --profile true
 *     npx nx run bench:gpu -- --shape Llama-2-7B --layers 16 --recompute block --out ''
 *
 * Each side runs in a process of its own, which has the whole GPU: ours, PyTorch eager, PyTorch compiled. All train in
 * bfloat16 on the same number of random tokens; medians of the steps after the warm-up count. Both sides keep gradients
 * and AdamW's moments in bfloat16 and no float32 weights unless told otherwise, PyTorch's users' way; ours also clips.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { formatBytes, mfuOf, peakFlops } from '@fourfold/metrics';
import { type LlamaConfig, MODELS, parameterCount, RECOMPUTE } from '@fourfold/model';
import { z } from 'zod';
import { type Measured, measure, type Task } from './gpu-step.ts';
import { runJson } from './run-json.ts';
import { median, tableRow } from './training.ts';

const smol = MODELS['SmolLM-1.7B'] as LlamaConfig;
const small = { layers: 12, dim: 768, heads: 12, kvHeads: 12, headDim: 64, ffn: 2048, vocabulary: 50_304, tied: true };
const SHAPES = {
  'SmolLM-1.7B': { config: smol, batch: 4, seq: 2048 },
  'llm.c-124M': { config: { ...smol, ...small }, batch: 64, seq: 1024 },
  'Llama-2-7B': { config: MODELS['Llama-2-7B'] as LlamaConfig, batch: 1, seq: 4096 },
  nano: { config: { ...(MODELS['nano'] as LlamaConfig), vocabulary: 256 }, batch: 2, seq: 32 }, // to try the command
};
type ShapeName = keyof typeof SHAPES;

const dtype = z.enum(['float32', 'bfloat16']);
const settings = z.object({
  shape: z.enum(Object.keys(SHAPES) as [ShapeName, ...ShapeName[]]).default('SmolLM-1.7B').describe('of the model'),
  layers: z.int().positive().optional().describe("default: the shape's"),
  batch: z.int().positive().optional().describe("sequences a step; default: the shape's"),
  seq: z.int().positive().optional().describe("tokens a sequence; default: the shape's"),
  recompute: z.enum(RECOMPUTE).default('none').describe('block: PyTorch does it too; selective: ours alone'),
  steps: z.int().min(3).default(8).describe('that count'),
  warmup: z.int().positive().default(3).describe('steps before them'),
  dtype: dtype.default('bfloat16').describe("of our weights and activations; PyTorch's are bfloat16"),
  gradients: dtype.optional().describe("of our matrices; default: the dtype. PyTorch's are bfloat16"),
  moments: dtype.default('bfloat16').describe("of our AdamW; PyTorch's are bfloat16"),
  masterWeights: z.boolean().default(false).describe('keep float32 weights, ours only'),
  deterministic: z.boolean().default(true).describe("ours; false: attention's gradients add up in any order"),
  torch: z.enum(['both', 'eager', 'compile', 'none']).default('both').describe('which PyTorch to run'),
  device: z.enum(['cuda', 'cpu']).default('cuda').describe('for ours; cpu: to try the command'),
  profile: z.boolean().default(false).describe('also print where our time goes, op by op'),
  out: z.string().default(fileURLToPath(new URL('../results', import.meta.url))).describe('folder; empty: none'),
  python: z.string().default('python3').describe('a Python that can import torch'),
}); // biome-ignore format: a table
type Settings = z.infer<typeof settings>;

/** A row of the table, and of the file. */
interface Run extends Measured {
  readonly who: string;
  /** Median. */
  readonly step: number;
  readonly tokensPerSecond: number;
  /** From 0 to 1; left out where the device's peak isn't known. */
  readonly mfu?: number;
}

function taskOf(config: Settings): Task {
  const { config: shape, ...size } = SHAPES[config.shape];
  const { layers = shape.layers, batch = size.batch, seq = size.seq, gradients = config.dtype, ...rest } = config;
  return { ...rest, config: { ...shape, layers }, batch, seq, gradients };
}

// ## The two sides

const runOurs = (task: Task): Promise<Measured> =>
  runJson(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), 'one-side'], JSON.stringify(task));

function runTorch({ config, ...task }: Task, python: string, compile: boolean): Promise<Measured> {
  const { batch, seq, warmup, steps, recompute } = task;
  const input = { ...config, batch, seq, warmup, steps, recompute: recompute === 'block', compile };
  return runJson(python, [fileURLToPath(new URL('torch_gpu.py', import.meta.url))], JSON.stringify(input));
}

/** The side that runs in a process of its own: a task comes in, what it took goes out. */
async function oneSide(): Promise<void> {
  const chunks: string[] = [];
  for await (const chunk of process.stdin.setEncoding('utf8')) chunks.push(chunk as string);
  console.log(JSON.stringify(await measure(JSON.parse(chunks.join('')) as Task)));
}

// ## The race

/** Adds to what a side measured what follows from it. */
function runOf(who: string, { config, batch, seq }: Task, measured: Measured): Run {
  const step = median(measured.milliseconds);
  const tokensPerSecond = (1000 * batch * seq) / step;
  const size = { ...config, parameters: parameterCount(config), seqLength: seq };
  const mfu = mfuOf(tokensPerSecond, size, peakFlops(measured.device, 'bfloat16'));
  return { who, ...measured, step, tokensPerSecond, ...(mfu === undefined ? {} : { mfu }) };
}

const WIDTHS = [34, 9, 9, 7, 9, 8, 9];

/** `ours` to hold it against, where it isn't ours itself. */
function rowOf({ who, step, tokensPerSecond, mfu, peakBytes, loss }: Run, ours?: Run): string {
  const share = mfu === undefined ? '' : `${(100 * mfu).toFixed(1)} %`;
  const ratio = ours ? `${(ours.tokensPerSecond / tokensPerSecond).toFixed(2)} x` : '';
  const cells = [step.toFixed(1), String(Math.round(tokensPerSecond)), share, formatBytes(peakBytes), loss.toFixed(3)];
  return tableRow([who, ...cells, ratio], WIDTHS).trimEnd();
}

async function race(config: Settings): Promise<void> {
  const task = taskOf(config);
  const { batch, seq, config: shape } = task;
  const parameters = `${(parameterCount(shape) / 1e9).toFixed(3)} B parameters`;
  console.log(`${config.shape}, ${shape.layers} layers, ${parameters}, batch ${batch}, seq ${seq}`);
  console.log(tableRow(['', 'ms', 'tok/s', 'MFU', 'memory', 'loss', 'ours is'], WIDTHS));
  const ours = await runOurs(task);
  const first = runOf(`ours, ${ours.version}`, task, ours);
  const runs = [first];
  console.log(rowOf(first));
  const kinds = (['eager', 'compile'] as const).filter((kind) => config.torch === 'both' || config.torch === kind);
  const hasTorch = kinds.length > 0 && spawnSync(config.python, ['-c', 'import torch']).status === 0;
  if (kinds.length > 0 && !hasTorch) console.log(`${config.python} can't import torch: no comparison`);
  for (const kind of hasTorch ? kinds : []) {
    const measured = await runTorch(task, config.python, kind === 'compile');
    const run = runOf(`PyTorch ${measured.version}, ${kind}`, task, measured);
    runs.push(run);
    console.log(rowOf(run, first));
  }
  if (ours.profile) console.log(`\none step of ours on the GPU:\n${ours.profile}`);
  if (config.out) save(config, task, runs);
}

/** What is not as usual in a run: 'seq-8192', 'recompute-block'. */
function variantOf(config: Settings): string[] {
  const usual = settings.parse({});
  const keys = ['layers', 'batch', 'seq', 'recompute', 'dtype', 'gradients', 'moments'] as const;
  const more = ['masterWeights', 'deterministic'] as const;
  return [...keys, ...more].filter((key) => config[key] !== usual[key]).map((key) => `${key}-${config[key]}`);
}

/** Writes the runs with all that they depend on: results/gpu-SmolLM-1.7B-seq-8192-NVIDIA-H100-80GB-HBM3.json. */
function save(config: Settings, task: Task, runs: readonly Run[]): void {
  const { out, shape } = config;
  mkdirSync(out, { recursive: true });
  const device = runs[0]?.device ?? '';
  const name = ['gpu', shape, ...variantOf(config), device.replaceAll(/[^A-Za-z0-9]+/g, '-')].join('-');
  const file = join(out, `${name}.json`);
  const date = new Date().toISOString().slice(0, 10);
  const what = { ...task, out: undefined, python: undefined }; // paths of this machine
  const all = { date, device, node: process.versions.node, shape, task: what, runs };
  writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`);
  console.log(`\nAll figures are in ${file}`);
}

async function main(): Promise<void> {
  const usage = "Times a training step on one GPU, ours and PyTorch's in turn.";
  await race(readConfig({ schema: settings, argv: process.argv.slice(2), name: 'nx run bench:gpu --', usage }));
}

await runMain(() => (process.argv[2] === 'one-side' ? oneSide() : main()));
