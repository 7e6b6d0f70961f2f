/** Memory against GPUs' (bench/results). Against the CPU's: packages/train/test/plan.proof.ts. */
import { coordinatesOf } from '@fourfold/process-group';
import { expect, test } from 'vitest';
import { inFlight, type Memory, memoryOf, partsOf } from '../src/index.ts';
import { plannedFor } from '../src/measured.ts';
import { jobOf, measured } from './jobs.ts';

const memories = (change: object): Memory[] => {
  const job = jobOf(change);
  return partsOf(job).map((part, rank) => memoryOf(job, part, rank));
};

// A GPU's peak has what its libraries work with, which isn't counted: so less by up to 5 %, and never more. Nor are
// messages that JavaScript has enqueued ahead of the GPU, which are held until they are sent: many small ones in a
// pipeline whose ranks split matrices too or have several stages, and some of 134 MB in a ring of four.
const least = ({ job: { config } }: (typeof measured)[number]): number => {
  if (config.cp > 2) return 0.83;
  return config.pp > 1 && (config.tp > 1 || config.ppEngine === 'interleaved') ? 0.9 : 0.95;
};
test.each(measured)('a GPU’s peak, to 5 %, with many messages to 10, with large ones to 17: $name', (run) => {
  const { peaks } = plannedFor(run);
  for (const [rank, bytes] of run.peakBytes.entries()) {
    const ratio = (peaks[coordinatesOf(rank, run.job.config).pp] as number) / bytes;
    expect(ratio).toBeGreaterThan(least(run));
    expect(ratio).toBeLessThan(1);
  }
});

test('there are runs to hold it against', () => {
  expect(measured.length).toBeGreaterThan(15);
});

test('bytes that don’t depend on activations: weights, moments, masters; ZeRO shares out the last two', () => {
  const narrow = { precision: 'bfloat16', device: 'cuda', dp: 4 };
  const [whole] = memories(narrow) as [Memory];
  const [shared] = memories({ ...narrow, zero: true }) as [Memory];
  const parameters = partsOf(jobOf({}))[0]?.parameters as number;
  expect(whole).toMatchObject({ weights: 2 * parameters, moments: 8 * parameters, masters: 4 * parameters });
  expect(shared).toMatchObject({ weights: 2.5 * parameters, moments: 2 * parameters, masters: parameters });
});

test('what is run again is not kept', () => {
  const kept = (recompute: string) => (memories({ layers: 12, recompute })[0] as Memory).activations;
  expect(kept('selective')).toBeLessThan(0.75 * kept('none'));
  expect(kept('block')).toBeLessThan(0.25 * kept('selective'));
});

test('1F1B: the first stage holds as many micro-batches as there are stages, the last one; AFAB holds all', () => {
  const job = jobOf({ pp: 4, gradAccSteps: 8 });
  expect([0, 1, 2, 3].map((rank) => inFlight(job, rank))).toEqual([4, 3, 2, 1]);
  const afab = jobOf({ pp: 4, gradAccSteps: 8, ppEngine: 'afab' });
  expect([0, 3].map((rank) => inFlight(afab, rank))).toEqual([8, 8]);
});

test('token ranks and context ranks share activations', () => {
  const activations = (change: object) => (memories({ layers: 32, ...change })[0] as Memory).activations;
  expect(activations({ cp: 4 })).toBe(activations({}) / 4);
  const [plain, split] = [activations({ tp: 2 }), activations({ tp: 2, sequenceParallel: true })];
  expect(split).toBe(activations({}) / 2);
  expect(plain).toBeGreaterThan(split);
});
