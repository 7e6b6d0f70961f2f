import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openPretrained } from '@fourfold/checkpoint';
import { expect, test } from 'vitest';
import { folder, trained } from './run.ts';

const tiny = fileURLToPath(new URL('../../checkpoint/test/fixtures/tiny.gguf', import.meta.url));
const run = { initFrom: tiny, microBatchSize: 2, learningRate: 1e-3, warmupSteps: 0, steps: 4 };

test('layouts go on from the same loaded weights, each rank with its slices, and export the same model', async () => {
  const one = await trained({ ...run, microBatchSize: 4, export: join(folder, 'one') });
  const loaded = (await trained({ ...run, microBatchSize: 4, steps: 1 })).losses[0];
  expect(one.losses[0]).toBe(loaded);
  expect(one.said).toContain('the model as transformers loads it, 11 tensors, float32');
  const first = await openPretrained(join(folder, 'one'));
  for (const layout of [
    { dp: 2, tp: 2, zero: true },
    { tp: 4, sequenceParallel: true, microBatchSize: 4 },
    { cp: 2, dp: 2 },
  ]) {
    const name = `out-${Object.values(layout).join('-')}`;
    const many = await trained({ ...run, ...layout, tied: undefined, export: join(folder, name) });
    for (const [i, loss] of one.losses.entries())
      expect(Math.abs((many.losses[i] as number) / loss - 1)).toBeLessThan(1e-5);
    expect(many.said).not.toContain('!='); // the export's traffic is not training's
    const model = await openPretrained(join(folder, name));
    for (const tensor of first.weights.tensors.keys()) {
      const wanted = first.weights.read(tensor);
      for (const [j, value] of model.weights.read(tensor).entries())
        expect(Math.abs(value - (wanted[j] as number))).toBeLessThan(2e-4); // AdamW's steps are up to 1e-3 long each
    }
    model.weights.close();
  }
  first.weights.close();
});

test('training goes on from what was exported', async () => {
  const before = await trained({ ...run, steps: 8, schedule: 'constant', export: join(folder, 'half') });
  const after = await trained({ ...run, initFrom: join(folder, 'half'), steps: 1 });
  expect(after.losses[0]).toBeLessThan(before.losses[0] as number);
  expect(readdirSync(join(folder, 'half'))).toContain('tokenizer.json');
  expect(after.validation).toBeLessThan(before.losses[0] as number);
});
