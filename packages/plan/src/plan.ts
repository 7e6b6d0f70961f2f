/**
 * A plan: what one layout takes of each rank, and how long its step is; and all layouts of so many ranks, best first.
 */
import { checkContextParallel } from '@fourfold/context-parallel';
import { RECOMPUTE, type Recompute } from '@fourfold/model';
import { UserError } from '@fourfold/runtime/errors';
import { chunksOf, type Settings, sequencesPerStep } from '@fourfold/settings';
import { checkTensorParallel } from '@fourfold/tensor-parallel';
import type { Machine } from './machines.ts';
import { type Memory, memoryOf } from './memory.ts';
import { type Part, partsOf } from './stages.ts';
import { type Time, timeOf } from './time.ts';
import type { Job } from './traffic.ts';

/** The share of a device's memory that a run may take: the rest is its libraries', and what lies between tensors. */
export const USABLE = 0.92;

/** What a step of a job will take. */
export interface Plan {
  /** What is planned. */
  readonly job: Job;
  /** Of the rank that holds the most. */
  readonly memory: Memory;
  /** Whether that is at most USABLE of the device. */
  readonly fits: boolean;
  /** Of the step. */
  readonly time: Time;
}

/** A part, and the first rank of the pipeline that has such a one: of these it holds the most micro-batches. */
type Kind = readonly [part: Part, rank: number];

function kindsOf(parts: readonly Part[]): Kind[] {
  const kinds = new Map<string, Kind>();
  for (const [rank, part] of parts.entries()) {
    const key = JSON.stringify(part);
    if (!kinds.has(key)) kinds.set(key, [part, rank]);
  }
  return [...kinds.values()];
}

/** The plan of one job on one machine. */
export function planOf(job: Job, machine: Machine): Plan {
  const parts = partsOf(job);
  const memory = largest(job, kindsOf(parts));
  return { job, memory, fits: fits(memory, machine), time: timeOf(job, machine, parts) };
}

/** Whether a device has so much to give. */
export const fits = (memory: Memory, machine: Machine): boolean => memory.total <= USABLE * machine.memory;

const largest = (job: Job, kinds: readonly Kind[]): Memory =>
  kinds.map(([part, rank]) => memoryOf(job, part, rank)).reduce((a, b) => (b.total > a.total ? b : a));

/** The memory of the rank that holds the most, at each level of recomputation. */
export const memoryByRecompute = (job: Job): [Recompute, Memory][] =>
  RECOMPUTE.map((recompute) => {
    const changed = { ...job, config: { ...job.config, recompute } };
    return [recompute, largest(changed, kindsOf(partsOf(changed)))];
  });

// ## All layouts

const divisors = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1).filter((d) => n % d === 0);

function isAllowed(check: () => void): boolean {
  try {
    check();
    return true;
  } catch (error) {
    if (error instanceof UserError) return false;
    throw error;
  }
}

type Change = Partial<Settings>;
type Mesh = Pick<Settings, 'dp' | 'pp' | 'cp' | 'tp'>;

/**
 * Every dp x pp x cp x tp of so many ranks that the model and its sequences can be split over. But tensor parallel
 * ranks stay in a node: between nodes what each layer exchanges would take longer than the layer.
 */
function* meshesOf({ config, shape }: Job, ranks: number, perNode: number): Generator<Mesh> {
  const order = config.contextOrder;
  const all = divisors(ranks);
  const tps = all.filter((tp) => tp <= perNode && isAllowed(() => checkTensorParallel(shape, tp)));
  const cps = all.filter((cp) => isAllowed(() => checkContextParallel({ seqLength: config.seqLength, cp, order })));
  for (const tp of tps)
    for (const pp of all.filter((n) => n <= shape.layers))
      for (const cp of cps) if (ranks % (tp * pp * cp) === 0) yield { dp: ranks / (tp * pp * cp), pp, cp, tp };
}

const MICRO_BATCHES = [1, 2, 4, 8, 16, 32, 64];

/** The ways to run a mesh: micro-batches, which share the sequences of a step; engine; ZeRO; sequence parallelism. */
function* waysOf(job: Job, mesh: Mesh): Generator<Change> {
  const { config, shape } = job;
  const sequences = sequencesPerStep(config);
  if (sequences % mesh.dp !== 0) return;
  const sizes = MICRO_BATCHES.filter((size) => (sequences / mesh.dp) % size === 0);
  const engines: Change[] = mesh.pp === 1 ? [{}] : [{ ppEngine: '1f1b' }, { ppEngine: 'afab' }];
  if (mesh.pp > 1 && mesh.pp * config.ppChunks <= shape.layers) engines.push({ ppEngine: 'interleaved' });
  const splits = mesh.tp > 1 && (config.seqLength / mesh.cp) % mesh.tp === 0 ? [false, true] : [false];
  const zeros = mesh.dp * mesh.cp > 1 && config.bucketMegabytes > 0 ? [false, true] : [false];
  for (const microBatchSize of sizes)
    for (const engine of engines)
      for (const sequenceParallel of splits)
        for (const zero of zeros) {
          const gradAccSteps = sequences / mesh.dp / microBatchSize;
          yield { ...mesh, microBatchSize, gradAccSteps, ...engine, sequenceParallel, zero };
        }
}

/** What a search found. */
export interface Found {
  /** Fastest first. */
  readonly plans: readonly Plan[];
  /** How many layouts were looked at. */
  readonly count: number;
}

/**
 * The fastest layouts that fit, of all for so many ranks with the same sequences in a step. To compute again takes
 * time, so of the levels of recomputation the first that fits is the one to take. At most `top` plans.
 */
export function search(job: Job, machine: Machine, ranks: number, top: number): Found {
  const known = new Map<string, Kind[]>();
  let [plans, count]: [Plan[], number] = [[], 0];
  for (const mesh of meshesOf(job, ranks, machine.perNode))
    for (const way of waysOf(job, mesh)) {
      const config = { ...job.config, ...way };
      const key = `${config.tp} ${config.pp} ${chunksOf(config)}`;
      const kinds = known.get(key) ?? kindsOf(partsOf({ ...job, config }));
      known.set(key, kinds);
      count += 1;
      const fitting = firstThatFits({ ...job, config }, machine, kinds);
      if (!fitting) continue;
      const parts = kinds.map(([part]) => part);
      plans.push({ ...fitting, fits: true, time: timeOf(fitting.job, machine, parts) });
      if (plans.length > 100 * top) plans = best(plans, top);
    }
  return { plans: best(plans, top), count };
}

/** With the least that is computed again. */
function firstThatFits(job: Job, machine: Machine, kinds: readonly Kind[]): Pick<Plan, 'job' | 'memory'> | undefined {
  for (const recompute of RECOMPUTE) {
    const changed = { ...job, config: { ...job.config, recompute } };
    const memory = largest(changed, kinds);
    if (fits(memory, machine)) return { job: changed, memory };
  }
  return undefined;
}

const best = (plans: readonly Plan[], top: number): Plan[] =>
  plans.toSorted((a, b) => a.time.step - b.time.step || a.memory.total - b.memory.total).slice(0, top);

/** 'dp2-tp2-pp1-cp1-mbs4-ga8-sl2048', and in words what else is not as usual. */
export function layoutName(config: Settings): string {
  const { dp, tp, pp, cp, microBatchSize, gradAccSteps, seqLength, sequenceParallel, zero, recompute } = config;
  const words = [
    `dp${dp}-tp${tp}-pp${pp}-cp${cp}-mbs${microBatchSize}-ga${gradAccSteps}-sl${seqLength}`,
    pp > 1 && config.ppEngine !== '1f1b' ? config.ppEngine : '',
    sequenceParallel ? 'sp' : '',
    zero ? 'zero' : '',
    recompute === 'none' ? '' : recompute,
  ];
  return words.filter(Boolean).join('-');
}
