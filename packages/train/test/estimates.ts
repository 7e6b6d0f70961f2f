/** The memory that is computed before a run, over the most that its steps really held. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRunLog, trainingBytes } from '@fourfold/metrics';
import { parameterCount } from '@fourfold/model';
import { spmd } from '@fourfold/process-group';
import { memory, openBackend, resetPeak } from '@fourfold/runtime';
import { prepare, settings } from '@fourfold/settings';
import { afterAll, beforeAll, expect } from 'vitest';
import { trainRank } from '../src/train.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-memory-'));
beforeAll(() => openBackend({ device: 'cpu' }));
afterAll(() => rmSync(folder, { recursive: true }));
const text = join(folder, 'text.txt');
writeFileSync(text, 'It was the best of times, it was the worst of times.\n'.repeat(500));
const whole = { steps: 1, device: 'cpu', data: text, evalSequences: 1, sampleTokens: 0, validationFraction: 0.2 };

/** The estimate for a run, over the most bytes that it held. */
async function estimateOverPeak(change: Record<string, unknown>): Promise<number> {
  const config = settings.parse({ ...whole, ...change });
  const before = memory().bytes;
  resetPeak();
  const setup = await prepare(config);
  const log = openRunLog({ title: 'test', steps: 1, screen: { write: () => true } });
  await spmd(1, (world) => trainRank(setup, world, { log }));
  const peak = memory().peakBytes - before;
  const { shape } = setup;
  const { microBatchSize: batch, seqLength, precision, recompute, moments, masterWeights } = config;
  const { gradientPrecision: gradients } = config;
  const size = {
    ...shape,
    parameters: parameterCount(shape),
    batch,
    seqLength,
    precision,
    gradients,
    moments,
    masterWeights,
    recompute,
    fused: precision === 'float32',
  };
  return trainingBytes(size) / peak;
}

const few = { microBatchSize: 1, seqLength: 16 };
// biome-ignore format: a table
export const runs = {
  'a small batch, where SwiGLU has the peak':       { model: 'micro', microBatchSize: 4, seqLength: 128 },
  'long sequences, where attention has it':         { model: 'nano', microBatchSize: 4, seqLength: 512 },
  'sequences so long that attention goes in tiles': { model: 'nano', microBatchSize: 1, seqLength: 2304 },
  'a vocabulary so large that logits go in chunks': { model: 'nano', seqLength: 128, vocabulary: 20000 },
  'many parameters, few tokens, two micro-batches': { model: 'nano', dim: 384, ...few, gradAccSteps: 2 },
};
export const small = { precision: 'bfloat16', moments: 'bfloat16', masterWeights: false };
export const ways = [{}, { recompute: 'selective' }, { recompute: 'block' }, { precision: 'bfloat16' }, small];
export const smallest = { ...small, gradientPrecision: 'bfloat16' };

/**
 * Never below what was held by more than 5 %, since then a run could begin that can't go on. Above by up to 45 %: the
 * estimate counts what the stock kernels keep, and the fused ones that run here keep less; and it counts the gradients
 * of all parameters, of which not all are there while the activations are.
 */
export async function expectEnough(run: object, way: object): Promise<void> {
  const ratio = await estimateOverPeak({ ...run, ...way });
  expect(ratio).toBeGreaterThan(0.95);
  expect(ratio).toBeLessThan(1.45);
}
