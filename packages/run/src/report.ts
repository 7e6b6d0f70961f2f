/**
 * What training cost: speed and memory of a step; and at the end what each rank sent, beside what the formulas of the
 * four dimensions say.
 */
import { contextParallelBytes } from '@fourfold/context-parallel';
import { mfuOf, peakFlops, type RunLog, rankRun, runReport } from '@fourfold/metrics';
import { type Llama, parameterCount } from '@fourfold/model';
import { bubble, pipelineBytes, type Ran } from '@fourfold/pipeline-parallel';
import { gatherObjects, isLaunched, type ProcessGroup } from '@fourfold/process-group';
import { memory } from '@fourfold/runtime';
import { pipelineShape, type Setup, sequencesPerStep, tokenRanksOf } from '@fourfold/settings';
import { tensorParallelBytes } from '@fourfold/tensor-parallel';
import type { Rank } from './rank.ts';

/** What a step that took so long says of speed and memory. */
export function figures({ config, shape, backend }: Setup, world: ProcessGroup, milliseconds: number) {
  const tokensPerSecond = (1000 * sequencesPerStep(config) * config.seqLength) / milliseconds;
  const size = { ...shape, parameters: parameterCount(shape), seqLength: config.seqLength };
  const devices = isLaunched() ? world.size : 1;
  const mfu = mfuOf(tokensPerSecond / devices, size, peakFlops(backend.description, config.precision));
  return { tokensPerSecond, milliseconds, memoryBytes: memory().peakBytes, mfu };
}

/** Bytes that this rank sends in a step, by group, as the formulas of the four dimensions say. */
export function predictedBytes({ setup: { config, shape }, mesh, parts, data }: Rank): Record<string, number> {
  const { microBatchSize: B, gradAccSteps: micros, seqLength, precision: dtype, recompute } = config;
  const t = seqLength / config.cp;
  const ring = { B, G: Math.max(1, shape.kvHeads / config.tp), t, K: shape.headDim, cp: config.cp, dtype, recompute };
  const message = { shape: [(B * t) / tokenRanksOf(config), shape.dim], dtype };
  const add = (bytes: (part: Llama) => number) => micros * parts.reduce((sum, part) => sum + bytes(part), 0);
  const own: Record<string, number> = {
    tp: add((part) => tensorParallelBytes(mesh.tp, part, B * t, config.sequenceParallel)),
    pp: pipelineBytes(pipelineShape(config), mesh.pp.rank, message),
    cp: add((part) => part.blocks.length * contextParallelBytes(ring)),
  };
  for (const [group, bytes] of Object.entries(data.bytes())) own[group] = (own[group] ?? 0) + bytes;
  return own;
}

/** Gathers what all ranks counted in so many steps, and lets the first say it. */
export async function report(rank: Rank, steps: number, ran: readonly Ran[], log: RunLog | undefined): Promise<void> {
  const { setup, mesh } = rank;
  const { model, pp, gradAccSteps, ppEngine, trace } = setup.config;
  const predicted = Object.entries(predictedBytes(rank)).map(([group, bytes]) => [group, steps * bytes]);
  const mine = rankRun(mesh, { predicted: Object.fromEntries(predicted), peakBytes: memory().peakBytes, ran });
  const runs = await mesh.world.recorder.apart(() => gatherObjects(mesh.world, mine));
  const title = `${model}: ${ppEngine}, ${pp} stages, ${gradAccSteps} micro-batches`;
  const share = bubble(pipelineShape(setup.config));
  log?.say(runReport(runs, { title, steps, oneProcess: !isLaunched(), bubble: share, trace }));
}
