import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSafetensors } from '@fourfold/checkpoint';
import { createLlama, forward, freePlace, initialize, placeOf } from '@fourfold/model';
import { openBackend, UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { checkModel, openModel } from '../src/model.ts';
import { type Settings, settings } from '../src/settings.ts';

beforeAll(() => openBackend({ device: 'wasm' }));
const at = (name: string) => fileURLToPath(new URL(`../../checkpoint/test/fixtures/${name}`, import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), 'fourfold-model-'));
afterAll(() => rmSync(temporary, { recursive: true }));
const asked = (changes: Partial<Settings>): Settings => settings.parse({ device: 'wasm', seqLength: 8, ...changes });

test('a named shape takes its weights from the seed and bytes as its vocabulary', async () => {
  const { config, shape, tokenizer, weights, plan } = await openModel(asked({ model: 'nano' }));
  expect([config.model, shape.vocabulary, tokenizer.name, weights, plan]).toEqual([
    ...['nano', 256, 'bytes'],
    ...[undefined, undefined],
  ]);
});

test.each([
  ['folder', { tokenizer: 'bytes' }],
  ['tiny.gguf', {}],
])("%s: transformers' logits within 1e-5", async (name, changes) => {
  const { config, shape, weights, close } = await openModel(asked({ initFrom: at(name), ...changes }));
  expect(config.model).toBe(name);
  const model = createLlama(shape);
  if (!weights) throw new Error('no weights');
  initialize(model, weights);
  close();
  const reference = await openSafetensors(at(name.replace(/\.gguf$/, '').concat('-reference.safetensors')));
  const [B, T] = reference.info('tokens').shape as [number, number];
  const tokens = tf.tensor2d((await reference.read('tokens')) as Int32Array, [B, T], 'int32');
  const place = placeOf(model, B, T);
  const [x_ND, pull] = await forward(model, tokens, place);
  pull.drop();
  freePlace(place);
  const logits = await tf.matMul(x_ND as tf.Tensor2D, model.head?.value as tf.Tensor2D, false, true).data();
  const wanted = (await reference.read('logits')) as Float32Array;
  await reference.close();
  expect(logits.length).toBe(wanted.length);
  const largest = wanted.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  expect(largest).toBeGreaterThan(1);
  // float32's own error: transformers' logits in float32 and in float64 lie as far apart.
  for (const [i, logit] of logits.entries())
    expect(Math.abs(logit - (wanted[i] as number))).toBeLessThan(1e-5 * largest);
});

test("a GGUF file's own vocabulary is the tokenizer, another one on demand", async () => {
  const own = await openModel(asked({ initFrom: at('tiny.gguf') }));
  expect(own.tokenizer.encode('the 18')).toEqual([258, 221, 17, 24]);
  expect(own.tokenizer.decode([258, 221, 17, 24])).toBe('the 18');
  own.close();
  const bytes = await openModel(asked({ initFrom: at('tiny.gguf'), tokenizer: 'bytes' }));
  expect(bytes.tokenizer.name).toBe('bytes');
  bytes.close();
});

test.each([
  [{ layers: 3 }, /^layers=3 would change the model of initFrom=.*: leave it out$/],
  [{ vocabulary: 300 }, /^vocabulary=300 would change the model/],
  [{ tp: 3 }, /^tp=3 does not divide heads=4/],
  [{ pp: 4 }, /^pp=4 has more stages than layers=1/],
  [{ initFrom: '/no/such' }, /^initFrom=\/no\/such is no model here/],
  [{ initFrom: at('folder') }, /^initFrom=.*folder has no tokenizer that can be read: give one with --tokenizer$/],
  [{ export: at('folder') }, /^export=.* is there already, with files in it: name a new folder$/],
])('%j is refused', async (changes, sentence) => {
  const refused = checkModel(asked({ initFrom: at('tiny.gguf'), ...changes }));
  await expect(refused).rejects.toThrow(UserError);
  await expect(checkModel(asked({ initFrom: at('tiny.gguf'), ...changes }))).rejects.toThrow(sentence);
});

test('weights of another shape than the config says are refused before any is read', async () => {
  const folder = join(temporary, 'folder');
  cpSync(at('folder'), folder, { recursive: true });
  const path = join(folder, 'config.json');
  const config = readFileSync(path, 'utf8');
  const check = () => checkModel(asked({ initFrom: folder, tokenizer: 'bytes' }));
  writeFileSync(path, config.replace('"intermediate_size": 40', '"intermediate_size": 48'));
  await expect(check()).rejects.toThrow(
    /"model.layers.0.mlp.gate_proj.weight" has shape \[40,16\], and by its config it/,
  );
  writeFileSync(path, config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 1'));
  await expect(check()).rejects.toThrow(/has a tensor "model.layers.1.\S+", which no Llama of its config has$/);
  writeFileSync(path, config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'));
  await expect(check()).rejects.toThrow(/has no tensor "model.layers.2.\S+", which its config asks for$/);
});

test("what an export will say: the run's dtype, and the vocabulary in use", async () => {
  const folder = join(temporary, 'out');
  const nano = await openModel(asked({ model: 'nano', export: folder }));
  expect(nano.plan).toMatchObject({ folder, dtype: 'F32', maxPositions: 8, ends: {} });
  expect(Object.keys(JSON.parse(nano.plan?.tokenizerFiles.get('tokenizer.json') ?? '').model.vocab)).toHaveLength(256);
  const tiny = await openModel(asked({ initFrom: at('tiny.gguf'), export: folder }));
  expect(tiny.plan).toMatchObject({ maxPositions: 128, ends: { begin: 0, end: 0 } });
  expect(tiny.plan?.tokenizerFiles.get('tokenizer_config.json')).toContain('<|end|>');
  tiny.close();
});
