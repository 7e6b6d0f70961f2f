import { expect, test } from 'vitest';
import { layoutName, MACHINES, type Machine, memoryByRecompute, planOf, search } from '../src/index.ts';
import { jobOf } from './jobs.ts';

const h100 = MACHINES['h100'] as Machine;
const llama = (change: object = {}) =>
  jobOf({ model: 'Llama-3-8B', seqLength: 4096, precision: 'bfloat16', device: 'cuda', ...change });

test('a name tells the layout', () => {
  const usual = llama({ dp: 2, tp: 2, microBatchSize: 4, gradAccSteps: 8, seqLength: 2048 });
  expect(layoutName(usual.config)).toBe('dp2-tp2-pp1-cp1-mbs4-ga8-sl2048');
  const other = llama({
    pp: 2,
    tp: 2,
    dp: 2,
    ppEngine: 'afab',
    sequenceParallel: true,
    zero: true,
    recompute: 'block',
  });
  expect(layoutName(other.config)).toBe('dp2-tp2-pp2-cp1-mbs8-ga1-sl4096-afab-sp-zero-block');
});

test('a plan fits or not', () => {
  expect(planOf(llama({ microBatchSize: 1 }), h100).fits).toBe(false);
  expect(planOf(llama({ microBatchSize: 1, tp: 8 }), h100).fits).toBe(true);
  expect(memoryByRecompute(llama()).map(([level]) => level)).toEqual(['none', 'selective', 'block']);
});

test('a search finds what fits, fastest first, of as many ranks and sequences as asked', () => {
  const { plans, count } = search(llama({ gradAccSteps: 128, microBatchSize: 1 }), h100, 16, 20);
  expect(count).toBeGreaterThan(500);
  expect(plans).toHaveLength(20);
  for (const [i, { job, fits, time, memory }] of plans.entries()) {
    const { dp, pp, cp, tp, microBatchSize, gradAccSteps } = job.config;
    expect([dp * pp * cp * tp, dp * microBatchSize * gradAccSteps, fits]).toEqual([16, 128, true]);
    if (i > 0) expect(time.step).toBeGreaterThanOrEqual(plans[i - 1]?.time.step as number);
    const alone = planOf(job, h100); // the same as of the layout by itself
    expect({ memory, step: time.step }).toEqual({ memory: alone.memory, step: alone.time.step });
  }
});

test('no layout fits: none is found', () => {
  expect(search(llama({ gradAccSteps: 8, microBatchSize: 1 }), { ...h100, memory: 1e9 }, 8, 5).plans).toEqual([]);
});

test('65,536 GPUs: under 5 s of this process’s time', () => {
  const before = process.cpuUsage();
  const { plans } = search(llama({ gradAccSteps: 65_536, microBatchSize: 1 }), h100, 65_536, 10);
  const { user, system } = process.cpuUsage(before);
  expect(plans).toHaveLength(10);
  expect((user + system) / 1e6).toBeLessThan(5);
});
