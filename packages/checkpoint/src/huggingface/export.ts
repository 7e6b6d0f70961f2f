/**
 * A model's folder as transformers loads it: AutoModelForCausalLM.from_pretrained(folder).
 *
 *     config.json, generation_config.json
 *     model.safetensors, or model-00001-of-00003.safetensors ... with model.safetensors.index.json
 *     tokenizer.json, ...
 *
 * The model is a shape and, for each tensor, a way to get its numbers: a folder or a GGUF file (`exportPretrained`),
 * the ranks of a run (`exportRanks`), or whoever else has tensors by name. One tensor is in memory at a time. The
 * folder is written under another name and renamed at its end, so that it is whole or not there.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Parameter } from '@fourfold/ops';
import { messageOf, read, UserError } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { type FloatDType, type Floats, fromFloat32 } from '../floats.ts';
import { gatherWhole, type Places } from '../gather.ts';
import { byteSize, type Metadata } from '../header.ts';
import { type MadeTensor, writeInTurn } from '../slices.ts';
import type { LlamaShape, Pretrained, TextEnds } from '../weights.ts';
import { configFrom } from './config.ts';

/** A tensor to export: its shape, and its numbers when they are wanted. */
export interface TensorSource {
  /** Its sides, the outermost first. */
  readonly shape: readonly number[];
  /** What it is written as. */
  readonly dtype: FloatDType;
  /** Its numbers in row-major order; called once, when its turn comes. */
  readonly values: () => Floats | Promise<Floats>;
}

/** A model to export. */
export interface ExportedModel {
  /** Of the Llama, for config.json. */
  readonly shape: LlamaShape;
  /** By Hugging Face name, in the order in which they fill the files. */
  readonly tensors: ReadonlyMap<string, TensorSource>;
  /** Positions that the model was trained for. */
  readonly maxPositions: number;
  /** Ids that begin and end a text. */
  readonly ends: TextEnds;
  /** Texts of tokenizer.json and the like, by file name. */
  readonly tokenizerFiles: ReadonlyMap<string, string>;
}

const NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const;
/** Bytes of a file at most, as transformers makes them: 5 · 10⁹. */
export const FILE_BYTES = 5e9;

/**
 * Writes a folder that isn't there yet, or is empty.
 *
 * @throws UserError where it can't be written, and what the tensors' sources throw
 */
export async function exportModel(folder: string, model: ExportedModel, fileBytes = FILE_BYTES): Promise<void> {
  const tensors = new Map<string, MadeTensor>();
  for (const [name, { dtype, shape, values }] of model.tensors)
    tensors.set(name, { dtype, shape, make: async () => fromFloat32(dtype, await values()) });
  await writeModelFolder(folder, { texts: textsOf(model), tensors, notes: { format: 'pt' } }, fileBytes);
}

/** What a model's folder consists of: texts by file name, tensors, and what its weight files say of themselves. */
export interface ModelFolder {
  /** Texts by file name: config.json and the like. */
  readonly texts: ReadonlyMap<string, string>;
  /** Tensors by name, each made when it is written. */
  readonly tensors: ReadonlyMap<string, MadeTensor>;
  /** What the weight files say of themselves. */
  readonly notes: Metadata;
}

/**
 * The same for whoever has the texts and tensors already: beside, tensor by tensor, and renamed at the end.
 *
 * @throws UserError where it can't be written, and what making the tensors throws
 */
export async function writeModelFolder(folder: string, model: ModelFolder, fileBytes = FILE_BYTES): Promise<void> {
  checkExport(folder);
  const path = resolve(folder);
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}.partial`);
  try {
    mkdirSync(beside, { recursive: true });
    await writeWeights(beside, model, fileBytes);
    for (const [name, text] of model.texts) writeFileSync(join(beside, name), text);
    renameSync(beside, path); // an empty folder there is replaced
  } catch (error) {
    if (existsSync(beside)) rmSync(beside, { recursive: true });
    if (error instanceof UserError || !(error instanceof Error && 'code' in error)) throw error;
    throw new UserError(`${folder} can't be written: ${messageOf(error)}`);
  }
}

/** Throws UserError for a folder that has something in it, before any work; `key` is for the message. */
export function checkExport(folder: string, key = 'export'): void {
  if (!existsSync(folder)) return;
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    throw new UserError(`${key}=${folder} is no folder: name a new one`);
  }
  if (names.length > 0) throw new UserError(`${key}=${folder} is there already, with files in it: name a new folder`);
}

/** The folder's texts, by file name. */
function textsOf({ shape, tensors, maxPositions, ends, tokenizerFiles }: ExportedModel): Map<string, string> {
  const [first] = tensors.values();
  const config = configFrom(shape, { dtype: NAMES[first?.dtype ?? 'F32'], maxPositions, ends });
  const generation = { bos_token_id: ends.begin, eos_token_id: ends.end, max_length: maxPositions };
  const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;
  const own = { 'config.json': json(config), 'generation_config.json': json(generation) };
  return new Map([...tokenizerFiles, ...Object.entries(own)]);
}

/** One file, or as many as keep each under `fileBytes` and an index of what is where. */
async function writeWeights(folder: string, { tensors, notes }: ModelFolder, fileBytes: number): Promise<void> {
  const files = dealt(tensors, fileBytes);
  const number = (i: number) => String(i).padStart(5, '0');
  const nameOf = (i: number) =>
    files.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(files.length)}.safetensors`;
  const home: Record<string, string> = {};
  for (const [i, names] of files.entries()) {
    for (const name of names) home[name] = nameOf(i);
    const stored = new Map(names.map((name) => [name, tensors.get(name) as MadeTensor]));
    await writeInTurn(join(folder, nameOf(i)), stored, notes);
  }
  if (files.length === 1) return;
  const total = [...tensors.values()].reduce((sum, tensor) => sum + byteSize(tensor), 0);
  const index = { metadata: { total_size: total }, weight_map: home };
  writeFileSync(join(folder, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`);
}

/** The names for each file, in their order: a file is full when the next tensor would be too much. */
function dealt(tensors: ReadonlyMap<string, MadeTensor>, fileBytes: number): string[][] {
  const files: string[][] = [[]];
  let bytes = 0;
  for (const [name, tensor] of tensors) {
    const more = byteSize(tensor);
    if (bytes > 0 && bytes + more > fileBytes) {
      files.push([]);
      bytes = 0;
    }
    files.at(-1)?.push(name);
    bytes += more;
  }
  return files;
}

/** What transformers takes for a sequence's length where a model doesn't say. */
const POSITIONS = 2048;

/** Exports a loaded model, in another dtype on demand; what keeps its dtype keeps its bits, mixed ones widen. */
export async function exportPretrained(
  folder: string,
  model: Pretrained,
  { dtype, fileBytes }: { dtype?: FloatDType | undefined; fileBytes?: number | undefined } = {},
): Promise<void> {
  const { weights, maxPositions = POSITIONS } = model;
  const dtypes = new Set([...weights.tensors.values()].map((info) => info.dtype));
  const [own = 'F32'] = dtypes.size === 1 ? dtypes : [];
  const tensors = new Map<string, TensorSource>();
  for (const [name, info] of weights.tensors)
    tensors.set(name, { shape: info.shape, dtype: dtype ?? own, values: () => weights.read(name) });
  await exportModel(folder, { ...model, tensors, maxPositions }, fileBytes);
}

/** What a run knows of the model that it exports at its end. */
export type ExportPlan = Omit<ExportedModel, 'tensors'> & { readonly folder: string; readonly dtype: FloatDType };

/** Exports what ranks hold: all call it; the first gathers, writes and says so. Throws UserError as exportModel. */
export async function exportRanks(
  { folder, dtype, ...model }: ExportPlan,
  shapes: ReadonlyMap<string, readonly number[]>,
  { parameters, mesh }: { readonly parameters: readonly Parameter[]; readonly mesh: Places },
  say: (line: string) => void = () => {},
): Promise<void> {
  const whole = await gatherWhole(shapes, parameters, mesh, ({ value }) => value);
  if (whole.size === 0) return;
  const tensors = new Map<string, TensorSource>();
  for (const [name, tensor] of whole) {
    const values = async () => Float32Array.from(await read(tensor));
    tensors.set(name, { shape: tensor.shape, dtype, values });
  }
  await exportModel(folder, { ...model, tensors });
  tf.dispose([...whole.values()]);
  say(`${folder}: the model as transformers loads it, ${tensors.size} tensors, ${NAMES[dtype]}`);
}
