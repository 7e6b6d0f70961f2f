/**
 * Where a file has a model's tensors: under which name, and from which row on.
 *
 *     mlp.experts.1.up_proj   here, and in Qwen3-MoE's files
 *     block_sparse_moe.experts.1.w3                     in Mixtral's
 *     mlp.experts.gate_up_proj [E, 2F, D]               as transformers 5 has it in memory: from row 1·2F + F on
 *     blk.0.ffn_up_exps [E, F, D]                       in GGUF (gguf.ts): from row 1·F on
 *
 * A tensor of several experts is one tall matrix, and an expert's matrix some of its rows.
 */
import { UserError } from '@fourfold/runtime/errors';
import { type ModelShape, tensorShapes } from './shape.ts';
import { type ReadBlocks, readPart, type StoredModel, type StoredTensor } from './stored.ts';

export interface View {
  /** The name in the file. */
  readonly stored: string;
  /** The sides that it has there. */
  readonly sides: readonly number[];
  /** Where in it this tensor begins. */
  readonly firstRow: number;
  /** Which of its rows there is ours here, where the file orders them otherwise. */
  readonly placeOf?: ((row: number) => number) | undefined;
}

/** A tensor of a file, and the file's way to give its blocks. */
export interface Source extends StoredTensor {
  readonly read: ReadBlocks;
}

/** What a tensor of this name and these sides may be called in a file. */
export type Spell = (name: string, sides: readonly number[], shape: ModelShape) => View[];

/**
 * A model's tensors out of a file that has these.
 *
 * @throws UserError where one is missing or has other sides, or the file has one that no such model has
 */
export function tensorsThrough(
  path: string,
  sources: ReadonlyMap<string, Source>,
  shape: ModelShape,
  spell: Spell,
): Pick<StoredModel, 'tensors' | 'read'> {
  const tensors = new Map<string, StoredTensor & { readonly source: Source; readonly view: View }>();
  for (const [name, sides] of tensorShapes(shape)) {
    const view = spell(name, sides, shape).find((each) => sources.has(each.stored));
    if (!view) throw new UserError(`${path} has no tensor "${name}", which its config asks for`);
    const source = sources.get(view.stored) as Source;
    if (`${source.shape}` !== `${view.sides}`)
      throw new UserError(
        `${path}: "${view.stored}" has shape [${source.shape}], and by its config it has [${view.sides}]`,
      );
    tensors.set(name, { format: source.format, shape: sides, source, view });
  }
  checkUsed(path, sources, new Set([...tensors.values()].map(({ view }) => view.stored)), shape);
  return {
    tensors,
    read(name, part = {}) {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`${path} has no tensor "${name}"`);
      const { source, view } = tensor;
      const skipped = view.firstRow * (tensor.shape[1] ?? 1);
      return readPart(tensor, part, (from, to) => source.read(skipped + from, skipped + to), view.placeOf);
    },
  };
}

function checkUsed(path: string, sources: ReadonlyMap<string, Source>, used: Set<string>, shape: ModelShape): void {
  for (const name of sources.keys())
    if (!used.has(name) && !isSpare(name, shape))
      throw new UserError(`${path} has a tensor "${name}", which no ${shape.architecture} of its config has`);
}

/** Old files hold RoPE's frequencies, which are computed here, and tied ones may hold the embedding twice. */
const isSpare = (name: string, { tied }: ModelShape): boolean =>
  name.endsWith('.rotary_emb.inv_freq') || (tied && name === 'lm_head.weight');

const whole = (stored: string, sides: readonly number[]): View => ({ stored, sides, firstRow: 0 });

/** Hugging Face's spellings of a name. */
export const spellHuggingFace: Spell = (name, sides, shape) => {
  const views = [whole(name, sides)];
  for (const [ours, theirs] of OTHER_NAMES[shape.architecture] ?? [])
    if (ours.test(name)) views.push(whole(name.replace(ours, theirs), sides));
  const [, before, number, part] = /^(.*\.mlp\.experts)\.(\d+)\.(\w+)_proj\.weight$/.exec(name) ?? [];
  if (before && shape.experts) {
    const { experts, ffn, dim } = shape;
    const [stored, rows, columns] = part === 'down' ? ['down_proj', dim, ffn] : ['gate_up_proj', 2 * ffn, dim];
    const firstRow = Number(number) * (rows as number) + (part === 'up' ? ffn : 0);
    views.push({ stored: `${before}.${stored}`, sides: [experts.count, rows as number, columns as number], firstRow });
  }
  return views;
};

type Renames = readonly (readonly [ours: RegExp, theirs: string])[];

/** Names of the files of models that have their own. */
const OTHER_NAMES: Readonly<Partial<Record<ModelShape['architecture'], Renames>>> = {
  mixtral: [
    [/mlp\.gate\.weight$/, 'block_sparse_moe.gate.weight'],
    [/mlp\.experts\.(\d+)\.gate_proj/, 'block_sparse_moe.experts.$1.w1'],
    [/mlp\.experts\.(\d+)\.down_proj/, 'block_sparse_moe.experts.$1.w2'],
    [/mlp\.experts\.(\d+)\.up_proj/, 'block_sparse_moe.experts.$1.w3'],
  ],
  'grok-1': [
    [/self_attn\./, 'attn.'],
    [/input_layernorm\.weight$/, 'pre_attn_norm.scale'],
    [/attention_output_norm\.weight$/, 'post_attn_norm.scale'],
    [/post_attention_layernorm\.weight$/, 'pre_moe_norm.scale'],
    [/mlp_output_norm\.weight$/, 'post_moe_norm.scale'],
    [/model\.norm\.weight$/, 'model.norm.scale'],
    [/mlp\.gate\.weight$/, 'moe_block.gate.weight'],
    [/mlp\.experts\.(\d+)\.gate_proj/, 'moe_block.experts.$1.linear'],
    [/mlp\.experts\.(\d+)\.up_proj/, 'moe_block.experts.$1.linear_v'],
    [/mlp\.experts\.(\d+)\.down_proj/, 'moe_block.experts.$1.linear_1'],
  ],
};
