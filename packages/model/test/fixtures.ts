/**
 * The reference models in fixtures/: what transformers and PyTorch compute for four tiny Llamas, to be matched.
 *
 * tools/fixtures/llama.py makes the files and says what is in them; B = 2 sequences, T = 24 tokens, V = 97.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openSafetensors, type TensorData } from '@fourfold/checkpoint';

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
