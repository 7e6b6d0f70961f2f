/**
 * A plan in words: tables for a terminal.
 */
import { columns, formatTraffic } from '@fourfold/metrics';
import { rankCount } from '@fourfold/process-group';
import { sequencesPerStep } from '@fourfold/settings';
import type { Machine } from './machines.ts';
import { inFlight } from './memory.ts';
import { type Found, fits, layoutName, memoryByRecompute, type Plan, USABLE } from './plan.ts';
import { modelParameters } from './stages.ts';
import { type Bytes, type Job, plannedBytes } from './traffic.ts';

/** Cells in columns, indented. */
export const table = (rows: readonly (readonly string[])[]): string[] => columns(rows).map((line) => `  ${line}`);

const milliseconds = (seconds: number): string => `${(1000 * seconds).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const count = (number: number): string => Math.round(number).toLocaleString('en-US');

/** What is asked: model, layout, batch, machine. */
export function heading({ config, shape }: Job, machine: Machine, ranks: number): string[] {
  const tokens = sequencesPerStep(config) * config.seqLength;
  const parameters = modelParameters({ config, shape });
  const sequences = count(sequencesPerStep(config));
  return [
    `${config.model}: ${count(parameters)} parameters, ${config.precision}; ${ranks} x ${machine.says}`,
    `A step: ${sequences} sequences of ${count(config.seqLength)} tokens, ${count(tokens)} in all`,
  ];
}

/** Of the rank that holds the most, at each level of recomputation. */
function memoryTable(job: Job, machine: Machine): string[] {
  const header = ['recompute', 'weights', 'moments', 'masters', 'gradients', 'activations', 'moment', 'together', ''];
  const rows = memoryByRecompute(job).map(([level, memory]) => {
    const { weights, moments, masters, gradients, activations, moment, total } = memory;
    const bytes = [weights, moments, masters, gradients, activations, moment, total].map(formatTraffic);
    const verdict = fits(memory, machine) ? 'fits' : 'too much';
    return [level, ...bytes, verdict];
  });
  const limit = formatTraffic(USABLE * machine.memory);
  return [
    `Memory of the rank that holds the most, at the peak of a step, of ${limit} that it may use:`,
    ...table([header, ...rows]),
  ];
}

/** Exact, for the first, a middle and the last rank of the pipeline. */
async function trafficTable(job: Job): Promise<string[]> {
  const { pp } = job.config;
  const ranks = [...new Set([0, Math.floor(pp / 2), pp - 1])];
  const each = await Promise.all(ranks.map((rank) => plannedBytes(job, { dp: 0, cp: 0, tp: 0, pp: rank })));
  const groups = [...new Set(each.flatMap((bytes) => Object.keys(bytes)))];
  if (groups.length === 0) return [];
  const cell = (bytes: Bytes, group: string) => formatTraffic(bytes[group] ?? 0);
  const rows = groups.map((group) => [group, ...each.map((bytes) => cell(bytes, group))]);
  const header = ['group', ...ranks.map((rank) => (pp > 1 ? `pp${rank}` : 'each rank'))];
  return ['', 'Sent by a rank in a step:', ...table([header, ...rows])];
}

/** Where the time goes. */
function timeTable({ time, job }: Plan, { measured }: Machine): string[] {
  const { products, attention, memory, calls, tp, cp, pp, dp, bubble, update, step, tokensPerSecond, mfu } = time;
  const parts = { products, attention, memory, calls, tp, cp, pp, dp, bubble, update };
  const rows = Object.entries(parts).map(([name, seconds]) => [
    NAMES[name] as string,
    milliseconds(seconds),
    percent(seconds / step),
  ]);
  const each = count(tokensPerSecond / rankCount(job.config));
  const trust = measured
    ? 'a model that is within 10 % of what one and two of these took'
    : 'data sheets, not measured';
  return [
    '',
    `Time: ${milliseconds(step)} a step, ${count(tokensPerSecond)} tokens/s, ${each} a rank, MFU ${percent(mfu)}`,
    `(by ${trust}; see docs/plan.md)`,
    ...table(rows),
  ];
}

const NAMES: Readonly<Record<string, string>> = {
  products: 'products',
  attention: 'attention',
  memory: 'norms, SwiGLU, RoPE',
  calls: 'between kernels',
  tp: 'exposed, tp',
  cp: 'exposed, cp',
  pp: 'exposed, pp',
  dp: 'exposed, dp',
  bubble: "pipeline's bubble",
  update: 'AdamW',
};

/** All that is known of one layout. */
export async function report(plan: Plan, machine: Machine): Promise<string> {
  const { job, memory, time } = plan;
  const { config } = job;
  const held = config.pp > 1 ? `; the first stage holds ${inFlight(job, 0)} micro-batches at once` : '';
  const idle = config.pp > 1 ? `, of it idle ${percent(time.bubble / time.step)}` : '';
  return [
    ...heading(job, machine, rankCount(config)),
    `Layout: ${layoutName(config)}${idle}${held}; the peak is at the ${memory.peak}`,
    '',
    ...memoryTable(job, machine),
    ...(await trafficTable(job)),
    ...timeTable(plan, machine),
  ].join('\n');
}

/** The best layouts. */
export function searchReport({ plans, count: looked }: Found, seconds: number): string[] {
  const header = ['layout', 'memory', 'step', 'tokens/s', 'MFU', 'bubble'];
  const rows = plans.map(({ job, memory, time }) => [
    layoutName(job.config),
    formatTraffic(memory.total),
    milliseconds(time.step),
    count(time.tokensPerSecond),
    percent(time.mfu),
    percent(time.bubble / time.step),
  ]);
  return [`${count(looked)} layouts in ${seconds.toFixed(1)} s; the fastest that fit:`, ...table([header, ...rows])];
}
