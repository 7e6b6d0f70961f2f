/** The model of time against what bench measured, and what must hold of any. */
import { bubble } from '@fourfold/pipeline-parallel';
import { pipelineShape } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { MACHINES, type Machine, partsOf, timeOf } from '../src/index.ts';
import { plannedFor } from '../src/measured.ts';
import { jobOf, measured } from './jobs.ts';

const h100 = MACHINES['h100'] as Machine;
const timeFor = (change: object, machine = h100) => {
  const job = jobOf({ model: 'SmolLM-1.7B', seqLength: 2048, precision: 'bfloat16', device: 'cuda', ...change });
  return { job, ...timeOf(job, machine, partsOf(job)) };
};

// A plan knows GPUs and links, and not how fast JavaScript enqueues. Where that was the limit (docs/performance.md), a
// plan is what a faster host would give: with tp4, a third of what was measured.
const isLimitedByHost = ({ job: { config } }: (typeof measured)[number]) => config.tp > 2;
test.each(measured.filter((run) => !isLimitedByHost(run)))('a step’s time to 12 %: $name', (run) => {
  expect(Math.abs(plannedFor(run).seconds / run.seconds - 1)).toBeLessThan(0.12);
});
test.each(measured.filter(isLimitedByHost))('a step that waited for its host took longer: $name', (run) => {
  expect(plannedFor(run).seconds).toBeLessThan(0.5 * run.seconds);
});

test('the parts add up to the step', () => {
  const {
    products,
    attention,
    memory,
    calls,
    tp,
    cp,
    pp,
    dp,
    bubble: idle,
    update,
    step,
  } = timeFor({
    ...{ dp: 2, tp: 2, pp: 2, cp: 2, gradAccSteps: 4, microBatchSize: 1 },
  });
  const all = [products, attention, memory, calls, tp, cp, pp, dp, idle, update];
  for (const seconds of all) expect(seconds).toBeGreaterThan(0);
  expect(all.reduce((a, b) => a + b, 0) / step).toBeCloseTo(1, 10);
});

test('the bubble is the formula’s share of the pipeline’s time', () => {
  const { job, bubble: idle, step, pp, update } = timeFor({ pp: 4, gradAccSteps: 6 });
  expect(idle / (step - pp - update)).toBeCloseTo(bubble(pipelineShape(job.config)), 10);
});

test('a last group of chunks that is not full takes the time of a whole one, at most', () => {
  const timeOf = (gradAccSteps: number) => timeFor({ pp: 4, ppEngine: 'interleaved', ppChunks: 2, gradAccSteps });
  const [partly, whole] = [timeOf(6), timeOf(8)];
  const pipeline = ({ step, pp, update }: typeof whole) => step - pp - update;
  expect(pipeline(partly) / pipeline(whole)).toBeCloseTo(1, 10);
  expect(partly.bubble).toBeGreaterThan(whole.bubble);
});

test('in contiguous order the last of four ranks sets attention’s pace, at 7/4 of the mean', () => {
  const [zigzag, contiguous] = ['zigzag', 'contiguous'].map((contextOrder) => timeFor({ cp: 4, contextOrder }));
  expect((contiguous?.attention ?? 0) / (zigzag?.attention ?? 1)).toBeCloseTo(7 / 4, 10);
});

test('to run more again takes longer, and a slower link too', () => {
  const [none, selective, block] = ['none', 'selective', 'block'].map((recompute) => timeFor({ recompute }).step);
  expect(selective).toBeGreaterThan(none as number);
  expect(selective).toBeLessThan(1.05 * (none as number));
  expect(block).toBeGreaterThan(1.2 * (none as number));
  const slow = { ...h100, link: h100.link / 10 };
  for (const change of [{ dp: 2 }, { tp: 2 }, { cp: 2 }, { pp: 2 }])
    expect(timeFor(change, slow).step).toBeGreaterThan(timeFor(change).step);
});

test('MFU counts what the model needs: tokens/s x (6 N + 12 L D T) over the peak of all', () => {
  const { tokensPerSecond, mfu } = timeFor({ dp: 2 });
  const flops = 6 * 1_711_376_384 + 12 * 24 * 2048 * 2048;
  expect(mfu).toBeCloseTo((tokensPerSecond * flops) / (2 * 989.5e12), 10);
});
