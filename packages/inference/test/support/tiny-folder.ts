/**
 * A model's folder as Hugging Face publishes it, with random weights and a vocabulary of bytes, made in milliseconds.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keyOf, uniforms } from '@fourfold/runtime/random';
import { type ModelShape, tensorShapes } from '../../src/shape.ts';
import { CHAT_TEMPLATE, END, tinyFiles } from './tiny-text.ts';

const SHAPE: ModelShape = {
  ...{ architecture: 'llama', layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 128, vocabulary: 259 },
  ...{ theta: 1e4, normEpsilon: 1e-5, tied: true, qkNorm: false, maxPositions: 512 },
};

const CONFIG = {
  ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', torch_dtype: 'float32' },
  ...{ num_hidden_layers: 2, hidden_size: 64, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16 },
  ...{ intermediate_size: 128, vocab_size: 259, rope_theta: 1e4, rms_norm_eps: 1e-5, tie_word_embeddings: true },
  ...{ max_position_embeddings: 512, bos_token_id: 256, eos_token_id: END },
};

/** @returns the folder, which the test removes; another seed makes another model of the same shape */
export async function tinyFolder(template: string | null = CHAT_TEMPLATE, seed = 1): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-model-'));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(CONFIG));
  writeFileSync(join(folder, 'model.safetensors'), weights(seed));
  for (const [name, text] of await tinyFiles(template)) writeFileSync(join(folder, name), text);
  return folder;
}

/** safetensors: how long the header is, the header, and the numbers, end to end. */
function weights(seed: number): Buffer {
  const header: Record<string, object> = {};
  const parts: Buffer[] = [];
  let at = 0;
  for (const [name, shape] of tensorShapes(SHAPE)) {
    const count = shape.reduce((a, b) => a * b);
    const numbers = Float32Array.from(uniforms(keyOf(seed, name), 0, count), (u) =>
      name.includes('norm') ? 1 : u - 0.5,
    );
    parts.push(Buffer.from(numbers.buffer));
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + 4 * count] };
    at += 4 * count;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...parts]);
}
