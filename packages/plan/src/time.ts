/**
 * The time of a step, before it runs: a model of a few lines, with what was measured in it as named numbers.
 *
 *     step = (m + (pp - 1) / v) · (arithmetic + memory + calls + exposed tp and cp)  +  exposed dp  +  update
 *             └── m micro-batches, and the pipeline filling and draining ──┘
 *
 * Arithmetic: products run at a share of the device's peak, attention at another. What norms, SwiGLU, RoPE and AdamW
 * do is bound by memory: bytes over bandwidth. Each call costs a little beside. Communication takes latency and, by
 * the ring's formula, bytes over the link's rate. What is hidden beside arithmetic still takes multiprocessors and
 * bandwidth from it: a share of its time is lost. The rest waits. docs/plan.md holds the results against measured ones.
 */
import { contextParallelBytes } from '@fourfold/context-parallel';
import { flopsPerToken } from '@fourfold/metrics';
import { bubble, type Shape, wholeGroups } from '@fourfold/pipeline-parallel';
import { rankCount } from '@fourfold/process-group';
import { BYTES } from '@fourfold/runtime';
import { pipelineShape, sequencesPerStep, tokenRanksOf } from '@fourfold/settings';
import { tensorParallelBytes } from '@fourfold/tensor-parallel';
import { type Machine, membersHere, type Way, wayOf } from './machines.ts';
import { blockParameters, modelParameters, type Part } from './stages.ts';
import type { Job } from './traffic.ts';

/** Measured on H100 and H200 (docs/performance.md), and taken to hold elsewhere. */
export const MEASURED = {
  /** Of the peak, that large products reach in a step. */
  products: 0.74,
  /** Of the peak, that attention reaches, forward and backward together, heads of 64 dimensions, long sequences. */
  attention: 0.325,
  /** Tokens of a sequence at which it reaches half of that: tiles at the diagonal compute what nobody sees. */
  halfAttention: 937,
  /** Of the memory's bandwidth. */
  memory: 0.9,
  /** Of a link's rate. */
  link: 0.75,
  /** Of the time of hidden communication, that computing beside it loses. */
  contention: 0.8,
  /** Seconds between two kernels. */
  call: 3e-6,
};

/** Seconds of a step, by what takes them. */
export interface Time {
  /** Matrix products. */
  readonly products: number;
  /** Attention's products and softmax. */
  readonly attention: number;
  /** What is bound by the memory's bandwidth: norms, SwiGLU, RoPE. */
  readonly memory: number;
  /** The time between kernels. */
  readonly calls: number;
  /** Waiting for tensor parallelism. */
  readonly tp: number;
  /** Waiting for the ring. */
  readonly cp: number;
  /** Sending to the next stage. */
  readonly pp: number;
  /** Averaging gradients, and with ZeRO gathering weights, where nothing hides it. */
  readonly dp: number;
  /** The pipeline's filling and draining. */
  readonly bubble: number;
  /** AdamW. */
  readonly update: number;
  /** The whole step. */
  readonly step: number;
  /** Of all ranks together. */
  readonly tokensPerSecond: number;
  /** From 0 to 1. */
  readonly mfu: number;
}

/** What one micro-batch takes on a rank. */
type Micro = Pick<Time, 'products' | 'attention' | 'memory' | 'calls' | 'tp' | 'cp'>;

/** The time of a step; `parts` are those of each rank of the pipeline. The slowest sets the pace. */
export function timeOf(job: Job, machine: Machine, parts: readonly Part[]): Time {
  const { config, shape } = job;
  const micros = parts.map((part) => microOf(job, machine, part));
  const slowest = micros.reduce((a, b) => (totalOf(b) > totalOf(a) ? b : a));
  const most = parts.reduce((a, b) => (b.parameters > a.parameters ? b : a));
  const m = config.gradAccSteps;
  const all = Object.fromEntries(
    Object.entries(slowest).map(([key, seconds]) => [key, m * seconds]),
  ) as unknown as Micro;
  const pipeline = pipelineSeconds(pipelineShape(config), totalOf(slowest));
  const pp = messages(job, machine);
  const dp = reductions(job, machine, most, (2 / 3) * totalOf(slowest));
  const update = updateOf(job, machine, most);
  const step = pipeline + pp + dp + update;
  const tokensPerSecond = (sequencesPerStep(config) * config.seqLength) / step;
  const flops = flopsPerToken({ ...shape, parameters: modelParameters(job), seqLength: config.seqLength });
  const mfu = (tokensPerSecond * flops) / (rankCount(config) * machine[config.precision]);
  return { ...all, pp, dp, bubble: pipeline - m * totalOf(slowest), update, step, tokensPerSecond, mfu };
}

/** Chunks take groups of pp micro-batches; at most, the places of those that a last group lacks stay empty. */
function pipelineSeconds(shape: Shape, micro: number): number {
  const micros = wholeGroups(shape);
  return (micros * micro) / (1 - bubble({ ...shape, micros }));
}

const totalOf = (micro: Micro): number => Object.values(micro).reduce((a: number, b: number) => a + b, 0);

// ## One micro-batch

function microOf(job: Job, machine: Machine, part: Part): Micro {
  const { config, shape } = job;
  const blocks = part.stages.reduce((sum, stage) => sum + stage.blocks, 0);
  const hasHead = part.stages.some((stage) => stage.hasHead);
  const tokens = (config.microBatchSize * config.seqLength) / config.cp;
  const rate = MEASURED.products * machine[config.precision];
  const head = hasHead ? (6 * tokens * shape.vocabulary * shape.dim) / config.tp : 0;
  const products = (blocks * blockFlops(job, tokens) + head) / rate;
  const attention = blocks * attentionSeconds(job, machine, tokens);
  const logits = hasHead ? (3 * tokens * shape.vocabulary * BYTES[config.precision]) / config.tp : 0;
  const memory = (blocks * blockBytes(job, tokens) + logits) / (MEASURED.memory * machine.bandwidth);
  const again = { none: 0, selective: 3, block: 8 }[config.recompute];
  const calls = blocks * (22 + again) * MEASURED.call;
  const tp = splitSeconds(job, machine, part, { tokens, beside: products / 2 });
  return { products, attention, memory, calls, tp, cp: ringSeconds(job, machine, blocks, attention) };
}

/** Products of a block: forward, twice that backward, and forward again but for the last one if it is recomputed. */
function blockFlops(job: Job, tokens: number): number {
  const { config, shape } = job;
  const matrices = blockParameters(job) - 2 * shape.dim;
  const again = config.recompute === 'block' ? matrices - (shape.dim * shape.ffn) / config.tp : 0;
  return 2 * tokens * (3 * matrices + again);
}

/** Forward two products for each pair of tokens, backward five; of the pairs a causal mask leaves half. */
function attentionSeconds({ config, shape }: Job, machine: Machine, tokens: number): number {
  const { seqLength: T, cp, tp, contextOrder, precision, recompute } = config;
  const uneven = contextOrder === 'contiguous' ? (2 * cp - 1) / cp : 1; // the last rank's own half, and all before
  const pairs = (tokens * T * uneven) / 2;
  const flops = 2 * pairs * (shape.heads / tp) * shape.headDim * (recompute === 'block' ? 2 + 2 + 5 : 2 + 5);
  const wide = (2 * shape.headDim) / (shape.headDim + 64); // larger heads, larger products
  const share = MEASURED.attention * wide * (T / (T + MEASURED.halfAttention));
  return flops / (share * machine[precision]);
}

/** What norms (12 D), SwiGLU (8 F) and RoPE (4 (H + G) K) read and write for a token; and again if recomputed. */
function blockBytes({ config, shape }: Job, tokens: number): number {
  const { tp, precision, recompute } = config;
  const { dim, ffn, heads, kvHeads, headDim } = shape;
  const turned = (heads + kvHeads) * headDim;
  const again = { none: [0, 0, 0], selective: [4, 3, 0], block: [4, 3, 2] }[recompute] as [number, number, number];
  const split = ((8 + again[1]) * ffn + (4 + again[2]) * turned) / tp;
  return tokens * BYTES[precision] * (((12 + again[0]) * dim) / tokenRanksOf(config) + split);
}

// ## What ranks tell each other

/** Seconds of so many bytes of one rank, in so many calls among n. */
const sending = ({ rate, latency }: Way, bytes: number, calls: number, n: number): number =>
  bytes / (MEASURED.link * rate) + calls * latency * Math.ceil(Math.log2(n));

/** Of some seconds of communication beside some of computing, those that the step takes longer. */
const exposed = (seconds: number, beside: number): number =>
  Math.max(0, seconds - beside) + MEASURED.contention * Math.min(seconds, beside);

const wayIn = (job: Job, machine: Machine, group: 'tp' | 'cp' | 'pp' | 'dpCp', size: number): Way =>
  wayOf(machine, size, membersHere(job.config, machine.perNode)[group]);

/** Tensor parallel: nothing to do beside forward's sums; backward's run beside the weights' gradients. */
function splitSeconds(job: Job, machine: Machine, part: Part, { tokens, beside }: { tokens: number; beside: number }) {
  const { tp: size, precision: dtype, recompute, sequenceParallel } = job.config;
  if (size === 1) return 0;
  const bytes = part.stages.reduce((sum, { blocks, hasEmbedding, hasHead }) => {
    const stage = { config: job.shape, dtype, recompute, blocks: { length: blocks } };
    const ends = { embed: hasEmbedding || undefined, loss: hasHead || undefined };
    return sum + tensorParallelBytes({ rank: 0, size }, { ...stage, ...ends }, tokens, sequenceParallel);
  }, 0);
  const blocks = part.stages.reduce((sum, stage) => sum + stage.blocks, 0);
  const [calls, hidden] = sequenceParallel ? [10, 6 / 10] : [4, 2 / 4];
  const seconds = sending(wayIn(job, machine, 'tp', size), bytes, blocks * calls, size);
  return (1 - hidden) * seconds + exposed(hidden * seconds, beside);
}

/** Context parallel: a ring beside attention. */
function ringSeconds(job: Job, machine: Machine, blocks: number, beside: number): number {
  const { config, shape } = job;
  const { cp, microBatchSize: B, seqLength, tp, precision: dtype, recompute } = config;
  if (cp === 1) return 0;
  const ring = { B, G: Math.max(1, shape.kvHeads / tp), t: seqLength / cp, K: shape.headDim, cp, dtype, recompute };
  const seconds = sending(wayIn(job, machine, 'cp', cp), blocks * contextParallelBytes(ring), blocks * 3 * (cp - 1), 2);
  return exposed(seconds, beside);
}

/** Pipeline: messages are exposed while it fills and drains, else their latency. */
function messages(job: Job, machine: Machine): number {
  const { config, shape } = job;
  const { pp, gradAccSteps, microBatchSize, seqLength, cp, precision } = config;
  if (pp === 1) return 0;
  const tokens = (microBatchSize * seqLength) / cp / tokenRanksOf(config);
  const way = wayIn(job, machine, 'pp', 2);
  const one = sending(way, tokens * shape.dim * BYTES[precision], 1, 2);
  return 2 * (pp - 1) * one + 2 * gradAccSteps * way.latency;
}

/** Data parallel: gradients travel beside the last micro-batch's backward; ZeRO's new weights beside nothing. */
function reductions(job: Job, machine: Machine, { parameters }: Part, backward: number): number {
  const { dp, cp, zero, precision, gradientPrecision, bucketMegabytes } = job.config;
  const gradient = BYTES[gradientPrecision];
  const n = dp * cp;
  if (n === 1) return 0;
  const way = wayIn(job, machine, 'dpCp', n);
  const half = ((n - 1) / n) * parameters;
  const buckets = Math.ceil((gradient * parameters) / (Math.max(1, bucketMegabytes) * 2 ** 20));
  const gradients = sending(way, (zero ? 1 : 2) * gradient * half, buckets, n);
  const weights = zero ? sending(way, BYTES[precision] * half, buckets, n) : 0;
  return exposed(gradients, bucketMegabytes > 0 ? backward : 0) + weights;
}

/** AdamW reads and writes weights, masters and moments, and reads gradients, as their norm does. */
function updateOf({ config }: Job, machine: Machine, { parameters }: Part): number {
  const { precision, gradientPrecision, moments, masterWeights, zero, dp, cp } = config;
  const masters = precision === 'bfloat16' && masterWeights ? 8 : 0;
  const bytes = 2 * BYTES[precision] + 4 * BYTES[moments] + masters + 2 * BYTES[gradientPrecision];
  return ((zero ? parameters / (dp * cp) : parameters) * bytes) / (MEASURED.memory * machine.bandwidth);
}
