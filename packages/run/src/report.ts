/**
 * What training cost: at its end, what each rank sent, beside what the formulas of the four dimensions say.
 */
import { type RunLog, rankRun, runReport } from '@fourfold/metrics';
import { bubble, type Ran } from '@fourfold/pipeline-parallel';
import { predictedBytes } from '@fourfold/plan';
import { gatherObjects } from '@fourfold/process-group';
import { memory } from '@fourfold/runtime';
import { pipelineShape } from '@fourfold/settings';
import type { Rank } from './rank.ts';

/** Gathers what all ranks counted in so many steps, and lets the first say it. */
export async function report(rank: Rank, steps: number, ran: readonly Ran[], log: RunLog | undefined): Promise<void> {
  const { setup, mesh } = rank;
  const { model, pp, gradAccSteps, ppEngine, trace } = setup.config;
  const sent = predictedBytes(setup, mesh, rank.parts, rank.data.bytes());
  const predicted = Object.entries(sent).map(([group, bytes]) => [group, steps * bytes]);
  const mine = rankRun(mesh, { predicted: Object.fromEntries(predicted), peakBytes: memory().peakBytes, ran });
  const runs = await mesh.world.recorder.apart(() => gatherObjects(mesh.world, mine));
  const title = `${model}: ${ppEngine}, ${pp} stages, ${gradAccSteps} micro-batches`;
  const share = bubble(pipelineShape(setup.config));
  log?.say(runReport(runs, { title, steps, oneProcess: mesh.world.isLocal, bubble: share, trace }));
}
