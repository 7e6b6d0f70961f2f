/**
 * What a rank sends in a step, to the byte: the formulas of the four dimensions, each from its own file, put together.
 *
 * A run holds its counts against them. A plan has no run: it makes the model of one rank on paper, by the very calls
 * that a run makes, with groups that know who is in them and can send nothing, and parameters that have no values.
 */
import { applyContextParallel, contextParallelBytes } from '@fourfold/context-parallel';
import { bucketedBytes, naiveDataParallel } from '@fourfold/data-parallel';
import { createLlama, type Llama, type LlamaConfig } from '@fourfold/model';
import { applyPipelineParallel, pipelineBytes } from '@fourfold/pipeline-parallel';
import { coordinatesOf, type Layout, type Mesh, ProcessGroup } from '@fourfold/process-group';
import { chunksOf, pipelineShape, type Settings, tokenRanksOf } from '@fourfold/settings';
import { applyTensorParallel, tensorParallelBytes } from '@fourfold/tensor-parallel';

/** What is planned: settings and a model. */
export interface Job {
  /** The run's settings. */
  readonly config: Settings;
  /** The model's shape. */
  readonly shape: LlamaConfig;
}
/** Bytes by the name of a group. */
export type Bytes = Readonly<Record<string, number>>;

/** Bytes that a rank with these parts of the model sends in a step, by group. `data`: those of data parallelism. */
export function predictedBytes(
  { config, shape }: Job,
  { tp, pp }: Pick<Mesh, 'tp' | 'pp'>,
  parts: readonly Llama[],
  data: Bytes,
): Bytes {
  const { microBatchSize: B, gradAccSteps: micros, seqLength, precision: dtype, recompute } = config;
  const t = seqLength / config.cp;
  const ring = { B, G: Math.max(1, shape.kvHeads / config.tp), t, K: shape.headDim, cp: config.cp, dtype, recompute };
  const message = { shape: [(B * t) / tokenRanksOf(config), shape.dim], dtype };
  const add = (bytes: (part: Llama) => number) => micros * parts.reduce((sum, part) => sum + bytes(part), 0);
  const own: Record<string, number> = {
    tp: add((part) => tensorParallelBytes(tp, part, B * t, config.sequenceParallel)),
    pp: pipelineBytes(pipelineShape(config), pp.rank, message),
    cp: add((part) => part.blocks.length * contextParallelBytes(ring)),
  };
  for (const [group, bytes] of Object.entries(data)) own[group] = (own[group] ?? 0) + bytes;
  return own;
}

// ## On paper

const cannot = async (): Promise<never> => {
  throw new Error('a group on paper sends nothing');
};
const nothing = { allReduce: cannot, allGather: cannot, reduceScatter: cannot, broadcast: cannot, allToAll: cannot };
const transport = { ...nothing, sendReceive: cannot, barrier: cannot, subset: cannot, waiting() {}, close: cannot };

/** Knows its size and this rank's place. Of the groups that a layout makes of it, it knows how large these will be. */
class GroupOnPaper extends ProcessGroup {
  readonly #parts: Readonly<Record<string, number>>;

  constructor(name: string, rank: number, size: number, parts: Readonly<Record<string, number>> = {}) {
    super({ name, rank, ranks: Array.from({ length: size }, (_, i) => i), transport });
    this.#parts = parts;
  }

  /** Ranks that follow one another: those that share a key head. Or, of a pipeline, the first and the last. */
  override async split(_color: number, _key: number, name: string): Promise<ProcessGroup> {
    const size = this.#parts[name] as number;
    return new GroupOnPaper(name, name === 'ends' ? Math.min(this.rank, size - 1) : this.rank % size, size);
  }
}

/** A rank that exists on paper: its groups know their sizes and send nothing. */
export interface RankOnPaper extends Pick<Mesh, 'tp' | 'pp' | 'dpCp'> {
  /** Its stages of the model, without values. */
  readonly parts: readonly Llama[];
}

/** What openRank of a run would make for the rank at this place. */
export async function rankOnPaper({ config, shape }: Job, place: Layout): Promise<RankOnPaper> {
  const { precision: dtype, recompute, sequenceParallel, contextOrder: order } = config;
  const tp = new GroupOnPaper('tp', place.tp, config.tp, { kv: config.tp / shape.kvHeads });
  const cp = new GroupOnPaper('cp', place.cp, config.cp);
  const pp = new GroupOnPaper('pp', place.pp, config.pp, { ends: 2 });
  const dpCp = new GroupOnPaper('dpCp', place.dp * config.cp + place.cp, config.dp * config.cp);
  const model = createLlama(shape, { dtype, gradDtype: config.gradientPrecision, recompute });
  await applyTensorParallel(model, tp, { sequenceParallel });
  applyContextParallel(model, cp, { order });
  return { tp, pp, dpCp, parts: await applyPipelineParallel(model, pp, chunksOf(config), config.ppBalance) };
}

/** Bytes that the rank at a place of the layout will send in a step, by group; without groups of one. */
export async function plannedBytes(job: Job, place: Layout): Promise<Bytes> {
  const { bucketMegabytes, zero, precision: dtype } = job.config;
  const rank = await rankOnPaper(job, place);
  const parameters = rank.parts.flatMap((part) => part.parameters);
  const bucketBytes = bucketMegabytes * 2 ** 20;
  const data =
    bucketBytes > 0
      ? bucketedBytes(parameters, rank.dpCp, { bucketBytes, zero, dtype })
      : naiveDataParallel(parameters, rank.dpCp).bytes();
  const all = predictedBytes(job, rank, rank.parts, data);
  return Object.fromEntries(Object.entries(all).filter(([, bytes]) => bytes > 0));
}

/** The same for a rank by its number. */
export const plannedBytesOf = (job: Job, rank: number): Promise<Bytes> =>
  plannedBytes(job, coordinatesOf(rank, job.config));
