/**
 * A model in blocks: every matrix in q40 or q80, norms and routers in float32.
 *
 *     q40    32 weights in 18 bytes    4.5 bits each    d · (q - 8), q from 0 to 15          ggml's Q4_0
 *     q80    32 weights in 34 bytes    8.5 bits each    d · q, q from -127 to 127            ggml's Q8_0
 *
 *     config.json          the shape, and {"quantization_config": {"quant_method": "fourfold", "format": "q40"}}:
 *                          transformers knows no such method, and refuses the folder by that name
 *     model.safetensors    a matrix is U8 [rows, bytes of a row]; metadata: {"fourfold.format": "q40"}
 *     tokenizer.json, ...  as they were
 *
 * Tensors pass one by one, some rows at a time, so a model larger than the memory is converted too. The folder is
 * written under another name and renamed at its end.
 */
import { configFrom, type Floats, type MadeTensor, writeModelFolder } from '@fourfold/checkpoint';
import { UserError } from '@fourfold/runtime/errors';
import { FORMAT_NOTE } from './folder.ts';
import type { ModelShape } from './shape.ts';
import { isMatrix } from './slices.ts';
import { BLOCKS, bytesFrom, bytesOf, floatsOf, type StoredModel, type StoredTensor } from './stored.ts';

/** The formats that a folder may be converted to. */
export const CONVERTED = ['q40', 'q80'] as const;
export type ConvertedFormat = (typeof CONVERTED)[number];

/**
 * Writes a model's folder in blocks; the model stays open.
 *
 * @throws UserError where the folder is there already or can't be written, or a matrix isn't made of whole blocks
 */
export async function convert(model: StoredModel, folder: string, format: ConvertedFormat): Promise<void> {
  const tensors = new Map<string, MadeTensor>();
  for (const [name, tensor] of model.tensors)
    tensors.set(name, isMatrix(name) ? inBlocks(model, name, tensor, format) : asFloats(model, name, tensor));
  const config = { ...configOf(model), quantization_config: { quant_method: 'fourfold', format } };
  const texts = new Map([...model.tokenizerFiles, ['config.json', `${JSON.stringify(config, null, 2)}\n`]]);
  await writeModelFolder(folder, { texts, tensors, notes: { [FORMAT_NOTE]: format } });
}

/** Rows that pass at once: 16 MB of them in float32. */
const rowsAtOnce = (columns: number): number => Math.max(1, Math.floor(2 ** 22 / columns));

function inBlocks(model: StoredModel, name: string, tensor: StoredTensor, format: ConvertedFormat): MadeTensor {
  const [rows, columns] = tensor.shape as [number, number];
  if (columns % BLOCKS[format].weights !== 0)
    throw new UserError(
      `"${name}" has rows of ${columns} weights, and ${format} takes multiples of ${BLOCKS[format].weights}`,
    );
  const rowBytes = bytesOf(format, columns);
  const make = async () => {
    const bytes = new Uint8Array(rows * rowBytes);
    for (let row = 0; row < rows; row += rowsAtOnce(columns)) {
      const stored = model.read(name, { rows: [row, Math.min(rows, row + rowsAtOnce(columns))] });
      const blocks = tensor.format === format ? stored : bytesFrom(format, floatsOf(tensor.format, stored));
      bytes.set(blocks, row * rowBytes);
    }
    return bytes;
  };
  return { dtype: 'U8', shape: [rows, rowBytes], make };
}

const asFloats = (model: StoredModel, name: string, { format, shape }: StoredTensor): MadeTensor => ({
  dtype: 'F32',
  shape,
  make: async () => floatsOf(format, model.read(name)) as Floats,
});

// ## config.json

const CLASSES: Readonly<Record<ModelShape['architecture'], string>> = {
  llama: 'LlamaForCausalLM',
  mistral: 'MistralForCausalLM',
  qwen3: 'Qwen3ForCausalLM',
  mixtral: 'MixtralForCausalLM',
  qwen3_moe: 'Qwen3MoeForCausalLM',
  'grok-1': 'Grok1ModelForCausalLM',
};

/** A model's settings under Hugging Face's keys: what config.ts reads. */
export function configOf({ shape, ends }: Pick<StoredModel, 'shape' | 'ends'>): Record<string, unknown> {
  const { architecture, maxPositions, window, experts, grok } = shape;
  const perExpert = architecture === 'mixtral' ? 'num_local_experts' : 'num_experts';
  return {
    ...configFrom(shape, { dtype: 'float32', maxPositions, ends }),
    ...{ architectures: [CLASSES[architecture]], model_type: architecture },
    ...(window ? { sliding_window: window } : {}),
    ...(experts ? { [perExpert]: experts.count, num_experts_per_tok: experts.active } : {}),
    ...(architecture === 'qwen3_moe' ? { moe_intermediate_size: shape.ffn, norm_topk_prob: experts?.normalized } : {}),
    ...(grok ? grokSettings(shape, grok) : {}),
  };
}

const grokSettings = ({ headDim }: ModelShape, grok: NonNullable<ModelShape['grok']>) => ({
  attn_output_multiplier: 1 / Math.sqrt(headDim),
  max_attn_value: grok.scoreCap,
  embedding_multiplier_scale: grok.embeddingScale,
  output_multiplier_scale: grok.logitScale,
});
