/**
 * What several GPUs of one machine give against one: a training step in each layout, over NCCL.
 *
 *     npx nx run bench:gpu-ranks                                  SmolLM-1.7B's shape on two GPUs, in four layouts
 *     npx nx run bench:gpu-ranks -- --layouts dp8,dp8-zero,tp2-sp-pp2-dp2 --torch compile
 *     npx nx run bench:gpu-ranks -- --check                       do the layouts compute what one GPU computes?
 *     npx nx run bench:gpu-ranks -- --device cpu --model nano --seq 32 --cpSeq 64       to try it without a GPU
 *
 * Each layout trains by the training command's own functions, a process a GPU. Before it one GPU trains alone, with the
 * work of one data-parallel rank (rank-layouts.ts); layouts that compare with the same run share it. They all take
 * turns; with --torch PyTorch's DDP has its turn after each dp layout. The speed-up is tokens a second of all GPUs over
 * those of the one. Times are by the GPU's clock, medians of the steps after the warm-up, the slowest rank's.
 *
 * The check is in float32, with few layers. Ranks add up in another order than one GPU does, so losses may differ by
 * some units of 2^-24 = 6e-8; by 1e-5 in the first steps is a mistake. AdamW doesn't see it if all of a gradient is too
 * large by a factor, so the first step's gradient norm must agree as well.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { openTokenizer } from '@fourfold/data';
import { formatBytes, mfuOf, peakFlops, relativeDifferences } from '@fourfold/metrics';
import { type LlamaConfig, MODELS, parameterCount, RECOMPUTE } from '@fourfold/model';
import { rankCount } from '@fourfold/process-group';
import { gpusOf } from '@fourfold/process-group/machine';
import { messageOf, RunError, UserError } from '@fourfold/runtime';
import { checkSettings, type Settings as RunSettings, sequencesPerStep, shapeOf } from '@fourfold/settings';
import { z } from 'zod';
import { launched } from './launched.ts';
import { aloneFor, layoutOf, type RankLayout, sameBatchAlone, settingsFor, workOf } from './rank-layouts.ts';
import type { Found, RankTask } from './rank-steps.ts';
import { isDataParallel, torchRanks } from './torch-ranks.ts';
import { median, tableRow } from './training.ts';

/** What is not given: times want what fills a GPU, the check few numbers. */
// biome-ignore format: a table
const USUAL = {
  times: { precision: 'bfloat16', batch: 4, seq: 2048, micros: 16, cpBatch: 1, cpSeq: 32_768, warmup: 2, steps: 5 },
  check: { precision: 'float32', batch: 2, seq: 1024, micros: 4, cpBatch: 2, cpSeq: 1024, warmup: 1, steps: 2,
           layers: 4 },
} as const;
/** The largest difference that the check allows, in parts of one GPU's number. */
const LIMIT = 1e-5;
/** Steps in which the check's learning rate rises, as a run begins: at its peak at once AdamW multiplies roundings. */
const WARM_UP = 100;

const count = z.int().positive().optional();
const dtype = z.enum(['float32', 'bfloat16']).optional();
// biome-ignore format: a table
const settings = z.object({
  layouts: z.array(z.string()).min(1).default(['dp2', 'tp2-sp', 'pp2', 'cp2'])
    .describe('by name, such as dp2-zero or tp2-sp-pp2-dp2'),
  model: z.enum(Object.keys(MODELS)).default('SmolLM-1.7B').describe('the shape, by name'),
  layers: count.describe("default: the shape's; check: 4"),
  batch: count.describe('sequences of a micro-batch, for each data-parallel rank; default 4, check: 2'),
  seq: count.describe('tokens of a sequence; default 2048, check: 1024'),
  micros: count.describe('micro-batches of a step with pp, on both sides; default 16, check: 4'),
  cpBatch: count.describe('batch with cp, on both sides; default 1, check: 2'),
  cpSeq: count.describe('seq with cp, on both sides; default 32768, check: 1024'),
  recompute: z.enum(RECOMPUTE).default('none').describe('what of a block, on both sides'),
  warmup: count.describe('steps before those that are timed; default 2, check: 1'),
  steps: count.describe('that are timed; default 5, check: 2'),
  precision: dtype.describe('of weights and activations; default bfloat16, check: float32'),
  gradients: dtype.describe('of matrices, where a step is one micro-batch; default: as the precision'),
  moments: dtype.describe('of AdamW; default: as the precision'),
  masterWeights: z.boolean().default(false).describe('with bfloat16, keep float32 weights'),
  check: z.boolean().default(false).describe('hold the losses against those of one GPU, and take no times'),
  torch: z.enum(['none', 'eager', 'compile']).default('none').describe('which PyTorch to run beside dp layouts'),
  python: z.string().default('python3').describe('a Python that can import torch'),
  device: z.enum(['cuda', 'cpu']).default('cuda').describe('cpu: over tcp, to try the command'),
  trace: z.string().optional().describe("folder for a trace of some steps more of each run, JSON"),
  out: z.string().default(fileURLToPath(new URL('../results', import.meta.url))).describe('folder; empty: none'),
});
type Settings = z.infer<typeof settings>;
type Size = 'batch' | 'seq' | 'micros' | 'cpBatch' | 'cpSeq' | 'warmup' | 'steps' | Dtype;
type Dtype = 'precision' | 'gradients' | 'moments';
/** The settings with all that was not given. */
type Complete = Omit<Settings, Size> & { readonly [key in Size]: NonNullable<Settings[key]> };

function complete(config: Settings): Complete {
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  const { precision, ...all } = { ...(config.check ? USUAL.check : USUAL.times), ...given } as Complete;
  const { gradients = precision, moments = precision } = config;
  return { ...all, precision, gradients, moments, masterWeights: precision === 'float32' || config.masterWeights };
}

/** A run to be made: in a layout, or alone. */
interface Plan {
  readonly who: string;
  readonly config: RunSettings;
  /** What it is held against. */
  readonly alone?: Plan;
}

/** The runs that the settings ask for; throws UserError where one of them can't be. */
async function plansOf(config: Complete): Promise<Plan[]> {
  const { layouts, batch, seq, micros, cpBatch, cpSeq, model, layers, recompute, device } = config;
  const { precision, gradients: gradientPrecision, moments, masterWeights } = config;
  const how = { model, layers, recompute, device, precision, gradientPrecision, moments, masterWeights };
  const rate = { learningRate: 3e-4, schedule: 'constant', warmupSteps: config.check ? WARM_UP : 0 } as const;
  const all = layouts.map(layoutOf);
  if (device === 'cuda') checkGpus(all, gpusOf(process.env['CUDA_VISIBLE_DEVICES']).length);
  const tokenizer = await openTokenizer('bytes');
  return all.map((layout) => {
    const own = settingsFor(layout, { batch, seq, micros, cpBatch, cpSeq, ...how, ...rate });
    checkSettings(own, shapeOf(own, tokenizer));
    const one = config.check ? sameBatchAlone(own) : aloneFor(own);
    return { who: layout.name, config: own, alone: { who: `alone: ${workOf(one)}`, config: one } };
  });
}

function checkGpus(layouts: readonly RankLayout[], here: number): void {
  if (here === 0)
    throw new UserError('device=cuda needs GPUs, and none was found: use --device cpu to try the command');
  for (const layout of layouts)
    if (rankCount(layout) > here)
      throw new UserError(
        `layout ${layout.name} needs ${rankCount(layout)} GPUs, and there are ${here}: use fewer ranks`,
      );
}

// ## Runs

const script = fileURLToPath(new URL('rank-steps.ts', import.meta.url));

/** Makes runs, each of them once; of one that fails it says why, and goes on. */
class Runs {
  readonly failed: string[] = [];
  readonly #config: Complete;
  readonly #found = new Map<string, Found | undefined>();

  constructor(config: Complete) {
    this.#config = config;
  }

  has({ config }: Plan): boolean {
    return this.#found.has(JSON.stringify(config));
  }

  async of(plan: Plan): Promise<Found | undefined> {
    const key = JSON.stringify(plan.config);
    if (!this.#found.has(key)) this.#found.set(key, await this.#run(plan));
    return this.#found.get(key);
  }

  async #run({ who, config }: Plan): Promise<Found | undefined> {
    const { warmup, steps, trace } = this.#config;
    const file = trace && join(trace, `${who.replaceAll(/[^A-Za-z0-9]+/g, '-')}.json`);
    const task: RankTask = { config, warmup, steps, trace: file };
    try {
      return await launched<Found>(rankCount(config), script, task);
    } catch (error) {
      if (error instanceof UserError) throw error;
      console.error(`${who} failed: ${messageOf(error)}`);
      this.failed.push(who);
      return undefined;
    }
  }
}

// ## The times

/** A row of the table, and of the file. */
interface Row extends Found {
  readonly who: string;
  readonly gpus: number;
  /** Milliseconds: the largest of the ranks' medians. */
  readonly step: number;
  readonly tokensPerSecond: number;
  readonly tokensPerSecondAndGpu: number;
  /** Of each GPU, from 0 to 1; left out where the device's peak isn't known. */
  readonly mfu?: number | undefined;
  /** Of the rank that has the most. */
  readonly peakBytes: number;
  /** Against one GPU, where that ran. */
  readonly speedUp?: number | undefined;
  readonly settings: RunSettings;
}

/** What follows from what the ranks found; `alone` is what to hold it against. */
function rowOf({ who, config }: Plan, shape: LlamaConfig, found: Found, alone?: Row): Row {
  const gpus = rankCount(config);
  const step = Math.max(...found.ranks.map(({ milliseconds }) => median(milliseconds)));
  const tokensPerSecond = (1000 * sequencesPerStep(config) * config.seqLength) / step;
  const size = { ...shape, parameters: parameterCount(shape), seqLength: config.seqLength };
  const tokensPerSecondAndGpu = tokensPerSecond / gpus;
  const mfu = mfuOf(tokensPerSecondAndGpu, size, peakFlops(found.device, config.precision));
  const peakBytes = Math.max(...found.ranks.map((rank) => rank.peakBytes));
  const speedUp = alone && tokensPerSecond / alone.tokensPerSecond;
  const speed = { step, tokensPerSecond, tokensPerSecondAndGpu, mfu, peakBytes, speedUp };
  return { who, gpus, ...speed, ...found, settings: config };
}

const WIDTHS = [26, 5, 9, 9, 10, 9, 9, 9];
const HEAD = ['', 'ranks', 'ms', 'tok/s', 'tok/s each', 'MFU each', 'memory', 'speed-up'];

function lineOf({ who, gpus, step, tokensPerSecond, tokensPerSecondAndGpu, mfu, peakBytes, speedUp }: Row): string {
  const share = mfu === undefined ? '' : `${(100 * mfu).toFixed(1)} %`;
  const speeds = [tokensPerSecond, tokensPerSecondAndGpu].map((speed) => String(Math.round(speed)));
  const cells = [String(gpus), step.toFixed(1), ...speeds, share, formatBytes(peakBytes)];
  return tableRow([who, ...cells, speedUp === undefined ? '' : `${speedUp.toFixed(2)} x`], WIDTHS).trimEnd();
}

async function times(plans: readonly Plan[], shape: LlamaConfig, runs: Runs, config: Complete): Promise<Row[]> {
  const rows: Row[] = [];
  const made = async (plan: Plan, alone?: Row): Promise<Row | undefined> => {
    const isNew = !runs.has(plan);
    const found = await runs.of(plan);
    const row = found && rowOf(plan, shape, found, alone);
    if (!row || !isNew) return row;
    rows.push(row);
    for (const line of [lineOf(row), ...row.gpuTimes]) console.log(line);
    return row;
  };
  console.log(tableRow(HEAD, WIDTHS));
  for (const plan of plans) {
    const ours = await made(plan, plan.alone && (await made(plan.alone)));
    if (ours && config.torch !== 'none' && isDataParallel(plan.config)) rows.push(await torchRow(plan, shape, config));
  }
  return rows;
}

/** PyTorch's turn after a dp layout's. */
async function torchRow({ who, config }: Plan, shape: LlamaConfig, { torch, ...rest }: Complete): Promise<Row> {
  const found = await torchRanks(config, shape, { ...rest, compile: torch === 'compile' });
  const row = rowOf({ who: `${who}: PyTorch's DDP`, config }, shape, found);
  console.log(lineOf(row));
  return row;
}

// ## The check

const CHECK_WIDTHS = [26, 5, 10, 10, 12, 12];

/** What came of a layout, for the file. */
interface Checked extends Found {
  readonly who: string;
  /** The largest relative difference of a loss, and that of the first gradient's norm. */
  readonly lossesApart: number;
  readonly normApart: number;
  readonly good: boolean;
  readonly settings: RunSettings;
}

/** Prints a line for each layout that ran. */
async function check(plans: readonly Plan[], runs: Runs): Promise<Checked[]> {
  console.log(tableRow(['', 'ranks', 'first loss', 'last', 'losses apart', 'norm apart'], CHECK_WIDTHS));
  const all: Checked[] = [];
  for (const { alone, ...plan } of plans) {
    const [one, found] = [alone && (await runs.of(alone)), await runs.of(plan)];
    if (!one || !found) continue;
    const lossesApart = Math.max(...relativeDifferences(found.losses, one.losses));
    const [normApart = Number.NaN] = relativeDifferences(found.gradNorms, one.gradNorms);
    const good = lossesApart <= LIMIT && normApart <= LIMIT;
    const ends = [found.losses.at(0), found.losses.at(-1)].map((loss = Number.NaN) => loss.toFixed(5));
    const cells = [String(found.ranks.length), ...ends, lossesApart.toExponential(1), normApart.toExponential(1)];
    console.log(`${tableRow([plan.who, ...cells], CHECK_WIDTHS)}  ${good ? 'ok' : 'FAIL'}`);
    all.push({ who: plan.who, lossesApart, normApart, good, ...found, settings: plan.config });
  }
  return all;
}

// ## The command

/** Writes all that was found, with what it depends on: results/gpu-ranks-dp2_tp2-sp-NVIDIA-H200.json. */
function save(config: Complete, found: readonly (Found & object)[]): void {
  const { out, model, check, layouts, ...rest } = config;
  const device = found[0]?.device ?? '';
  const kind = check ? 'gpu-ranks-check' : 'gpu-ranks';
  const shape = [model, `recompute-${rest.recompute}`].filter((word) => !/^(SmolLM-1\.7B|recompute-none)$/.test(word));
  const name = [kind, ...shape, layouts.join('_'), device.replaceAll(/[^A-Za-z0-9]+/g, '-')].join('-');
  const file = join(out, `${name}.json`);
  const date = new Date().toISOString().slice(0, 10);
  const asked = { model, check, layouts, ...rest, trace: undefined, python: undefined }; // paths of this machine
  const all = { date, device, node: process.versions.node, tensorflow: found[0]?.version, asked, runs: found };
  mkdirSync(out, { recursive: true });
  writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`);
  console.log(`\nAll figures are in ${file}`);
}

async function main(): Promise<void> {
  const usage = 'Times training steps on several GPUs of one machine against one GPU.';
  const name = 'nx run bench:gpu-ranks --';
  const config = complete(readConfig({ schema: settings, argv: process.argv.slice(2), name, usage }));
  const plans = await plansOf(config);
  if (config.trace) mkdirSync(config.trace, { recursive: true });
  const shape = shapeOf((plans[0] as Plan).config, await openTokenizer('bytes'));
  const parameters = `${(parameterCount(shape) / 1e9).toFixed(3)} B parameters`;
  console.log(`${config.model}, ${shape.layers} layers, ${parameters}, ${config.precision}`);
  const runs = new Runs(config);
  const found = config.check ? await check(plans, runs) : await times(plans, shape, runs, config);
  if (config.out && found.length > 0) save(config, found);
  const apart = found.flatMap((one) => ('good' in one && !one.good ? [one.who] : []));
  if (runs.failed.length > 0) throw new RunError(`failed: ${runs.failed.join('; ')}`);
  if (apart.length > 0) throw new RunError(`more than ${LIMIT.toExponential()} from one GPU: ${apart.join('; ')}`);
}

await runMain(main);
