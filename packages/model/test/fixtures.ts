/**
 * The reference models in fixtures/: what transformers and PyTorch compute for four tiny Llamas, to be matched. For
 * other packages they are `@fourfold/model/fixtures`.
 *
 * tools/fixtures/llama.py makes the files and says what is in them; B = 2 sequences, T = 24 tokens, V = 97.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type TensorData } from '@fourfold/checkpoint';
import * as tf from '@tensorflow/tfjs-core';
import { createLlama, initialize, type Llama, type LlamaConfig } from '../src/model.ts';

export const FIXTURES = ['gqa', 'mqa', 'tied', 'llama3'] as const;

export interface Reference {
  readonly shape: number[];
  readonly data: Float32Array;
}

export interface Fixture {
  /** Hugging Face's config.json, as it is in the file. */
  readonly config: Readonly<Record<string, unknown>>;
  /** By Hugging Face name; a tied model has no lm_head.weight. */
  readonly weights: ReadonlyMap<string, Reference>;
  /** d loss / d weight, under the weight's name. */
  readonly gradients: ReadonlyMap<string, Reference>;
  /** [B, T + 1]: the inputs are all but each row's last, the targets all but its first. */
  readonly tokens: { readonly shape: number[]; readonly data: Int32Array };
  /** [B, T, V]. */
  readonly logits: Reference;
  /** Mean cross-entropy over the B x T targets, nats. */
  readonly loss: number;
  /** The loss before each of ten AdamW steps, in float32 and in float64 from the same weights. */
  readonly losses: readonly number[];
  readonly losses64: readonly number[];
}

/** Reads fixtures/NAME.config.json and fixtures/NAME.safetensors. */
export async function readFixture(name: (typeof FIXTURES)[number]): Promise<Fixture> {
  const path = (ending: string) => fileURLToPath(new URL(`fixtures/${name}.${ending}`, import.meta.url));
  const config: Record<string, unknown> = JSON.parse(await readFile(path('config.json'), 'utf8'));
  const file = await openSafetensors(path('safetensors'));
  const reference = async (tensor: string): Promise<Reference> => ({
    shape: [...file.info(tensor).shape],
    data: expectArray(await file.read(tensor), Float32Array, tensor),
  });
  const weights = new Map<string, Reference>();
  const gradients = new Map<string, Reference>();
  for (const gradient of file.names.filter((each) => each.startsWith('grad.'))) {
    const weight = gradient.slice('grad.'.length);
    weights.set(weight, await reference(weight));
    gradients.set(weight, await reference(gradient));
  }
  const tokens = {
    shape: [...file.info('tokens').shape],
    data: expectArray(await file.read('tokens'), Int32Array, 'tokens'),
  };
  const logits = await reference('logits');
  const losses = Array.from((await reference('losses')).data);
  const losses64 = Array.from(expectArray(await file.read('losses64'), Float64Array, 'losses64'));
  const loss = (await reference('loss')).data[0] ?? Number.NaN;
  await file.close();
  return { config, weights, gradients, tokens, logits, loss, losses, losses64 };
}

function expectArray<T extends TensorData>(data: TensorData, type: new (length: number) => T, name: string): T {
  if (!(data instanceof type)) throw new Error(`${name} is a ${data.constructor.name}, not a ${type.name}`);
  return data;
}

// ## As ours

/** Hugging Face's config.json as ours. */
function configOf({ config: hf }: Fixture): LlamaConfig {
  const number = (key: string) => Number(hf[key]);
  const rope = (hf['rope_scaling'] ?? hf['rope_parameters'] ?? {}) as Record<string, unknown>;
  const llama3 = rope['rope_type'] === 'llama3';
  return {
    layers: number('num_hidden_layers'),
    dim: number('hidden_size'),
    heads: number('num_attention_heads'),
    kvHeads: number('num_key_value_heads'),
    headDim: Number(hf['head_dim'] ?? number('hidden_size') / number('num_attention_heads')),
    ffn: number('intermediate_size'),
    vocabulary: number('vocab_size'),
    theta: Number(hf['rope_theta'] ?? rope['rope_theta']),
    normEpsilon: number('rms_norm_eps'),
    tied: hf['tie_word_embeddings'] === true,
    ...(llama3 && {
      ropeScaling: {
        factor: Number(rope['factor']),
        lowFrequencyFactor: Number(rope['low_freq_factor']),
        highFrequencyFactor: Number(rope['high_freq_factor']),
        originalMaxPositions: Number(rope['original_max_position_embeddings']),
      },
    }),
  };
}

/** Our model with the fixture's weights. */
export function fixtureModel(fixture: Fixture, options: Parameters<typeof createLlama>[1] = {}): Llama {
  const weights = ({ name }: { name: string }) => {
    const weight = fixture.weights.get(name);
    if (!weight) throw new Error(`the fixture has no ${name}`);
    return tf.tensor(weight.data, weight.shape);
  };
  const model = createLlama(configOf(fixture), options);
  initialize(model, weights);
  return model;
}

/** Inputs and targets, [B, T] each. */
export function batchOf({ tokens: { shape, data } }: Fixture): [tf.Tensor, tf.Tensor] {
  const [B, more] = shape as [number, number];
  const T = more - 1;
  const from = (start: number): tf.Tensor => {
    const ids = Int32Array.from(
      { length: B * T },
      (_, i) => data[Math.floor(i / T) * more + start + (i % T)] as number,
    );
    return tf.tensor2d(ids, [B, T], 'int32');
  };
  return [from(0), from(1)];
}
