import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gatherWhole, openPretrained } from '@fourfold/checkpoint';
import { parameterShapes } from '@fourfold/model';
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { aboutOf, openSaver, type Rank } from '../src/index.ts';
import { command, expectRefused, folder, tiny } from './export-command.ts';
import { onRanks, step } from './ranks.ts';

beforeAll(() => useBackend('cpu'));

test('exports in a dtype and in files of a size, and says what', () => {
  const out = join(folder, 'out');
  const { status, stdout, stderr } = command(
    '--from',
    tiny,
    '--out',
    out,
    '--dtype',
    'float16',
    '--fileMegabytes',
    '0.1',
  );
  expect([stderr, status]).toEqual(['', 0]);
  expect(stdout).toBe(`${out}: 11 tensors, 0.08 M parameters, as transformers loads them\n`);
  expect(readdirSync(out)).toContain('model-00001-of-00002.safetensors');
});

test('a checkpoint that two ranks wrote is the model that they had, to the bit', async () => {
  const [saved, out] = [join(folder, 'saved'), join(folder, 'of-checkpoint')];
  const weights = await onRanks({ tp: 2, checkpoints: saved }, async (rank) => {
    await step(rank, 1);
    const saver = await openSaver(rank, () => {});
    await saver?.save(aboutOf(rank, 1, undefined));
    await saver?.close();
    return gathered(rank);
  });
  const { status, stdout, stderr } = command('--from', saved, '--out', out);
  expect([stderr, status]).toEqual(['', 0]);
  expect(stdout).toMatch(/20 tensors, 0\.\d+ M parameters/);
  const exported = await openPretrained(out);
  expect(exported.shape).toMatchObject({ layers: 2, dim: 64, vocabulary: 256, tied: true });
  expect([...exported.tokenizerFiles.keys()]).toEqual(['tokenizer.json', 'tokenizer_config.json']);
  expect(exported.weights.tensors.size).toBe(weights[0]?.size);
  for (const [name, values] of weights[0] ?? []) expect(exported.weights.read(name), name).toEqual(values);
  exported.weights.close();
});

/** All weights, whole, on the first rank. */
async function gathered({ setup, parameters, mesh }: Rank): Promise<Map<string, Float32Array>> {
  const whole = await gatherWhole(parameterShapes(setup.shape), parameters, mesh, ({ value }) => value);
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of whole) {
    values.set(name, Float32Array.from(await tensor.data()));
    tensor.dispose();
  }
  return values;
}

test.each([
  [['--from', 'none', '--out', join(folder, 'x')], /^from=none is no model here: /],
  [['--form', tiny], /^Unknown option '--form'.*: the options are --from MODEL/],
])('%j is refused in a sentence, with 2', expectRefused);
