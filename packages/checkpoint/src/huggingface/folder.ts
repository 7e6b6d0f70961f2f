/**
 * A model's folder as Hugging Face publishes it.
 *
 *     config.json                       the shape (config.ts)
 *     model.safetensors                 the weights; or several files, and which tensor is in which:
 *     model.safetensors.index.json      {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors", ...}}
 *     tokenizer.json, ...               the vocabulary
 *
 * Opening reads headers alone; weights are read when they are asked for. Nothing is believed before it is checked: an
 * index may name files of this folder and no others.
 */
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { isFile, readJson, readText, show } from '../files.ts';
import { FLOATS, isFloat, toFloat32 } from '../floats.ts';
import { sizeOf } from '../header.ts';
import type { TensorInfo } from '../safetensors.ts';
import { openSlices, type SlicedFile } from '../slices.ts';
import { type Pretrained, runsOf, type TextEnds, type WeightInfo, type Weights } from '../weights.ts';
import { endsFrom, shapeFrom } from './config.ts';

const MEGABYTE = 2 ** 20;
const MOST_CONFIG = 4 * MEGABYTE;
const MOST_INDEX = 64 * MEGABYTE;
const MOST_TOKENIZER = 256 * MEGABYTE;
const MOST_FILES = 10_000;

/** What a tokenizer may consist of. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja'];
const MORE_TOKENIZER_FILES = ['added_tokens.json', 'vocab.json', 'merges.txt'];

/**
 * Opens a folder.
 *
 * @throws UserError where it is none, or no Llama of ours, or a file in it isn't sound
 */
export function openFolder(folder: string): Pretrained {
  const settings = settingsOf(folder);
  const shape = shapeFrom(settings, join(folder, 'config.json'));
  const { maxPositions, ends } = notesOf(settings);
  return {
    shape,
    weights: openWeights(folder, shape.tied),
    maxPositions,
    tokenizerFiles: tokenizerFilesOf(folder),
    ends,
  };
}

/** What a folder's config.json says. Throws UserError where there is none, or it is no JSON object. */
export function settingsOf(folder: string): Readonly<Record<string, unknown>> {
  const path = join(folder, 'config.json');
  if (!isFile(path))
    throw new UserError(`${folder} has no config.json: give the folder of a model as Hugging Face publishes it`);
  const settings = readJson(path, MOST_CONFIG);
  if (typeof settings === 'object' && settings !== null && !Array.isArray(settings)) return { ...settings };
  throw new UserError(`${path} holds no settings of a model: it is no JSON object`);
}

/** What settings say beside the shape. */
function notesOf(settings: Readonly<Record<string, unknown>>): Pick<Pretrained, 'maxPositions' | 'ends'> {
  const positions = settings['max_position_embeddings'];
  const isCount = typeof positions === 'number' && Number.isSafeInteger(positions) && positions > 0;
  return { maxPositions: isCount ? positions : undefined, ends: endsFrom(settings) };
}

/**
 * The ids that begin and end a text: config.json's, and what generation_config.json has beside it. Models that chat
 * often name the end of a turn only there.
 *
 * @throws UserError where generation_config.json is not valid JSON
 */
export function endsOf(folder: string, settings: Readonly<Record<string, unknown>>): TextEnds {
  const path = join(folder, 'generation_config.json');
  const more = isFile(path) ? readJson(path, MOST_CONFIG) : {};
  const [own, added] = [endsFrom(settings), endsFrom(isObject(more) ? more : {})];
  const ids = [...new Set([own.end ?? [], added.end ?? []].flat())];
  return { begin: own.begin ?? added.begin, end: ids.length > 1 ? ids : ids[0] };
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** The texts of a folder's tokenizer, by file name. */
export function tokenizerFilesOf(folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const name of [...TOKENIZER_FILES, ...MORE_TOKENIZER_FILES])
    if (isFile(join(folder, name))) files.set(name, readText(join(folder, name), MOST_TOKENIZER));
  return files;
}

/** The tensors of all of a folder's weight files: in which file each is. */
export interface FolderTensors {
  /** By the tensor's name. */
  readonly homes: ReadonlyMap<string, SlicedFile>;
  /** Closes the files. */
  close(): void;
}

/** Opens a folder's weight files. Throws UserError where one isn't sound, or they and their index disagree. */
export function openTensors(folder: string): FolderTensors {
  const files = new Map<string, SlicedFile>();
  const close = () => {
    for (const file of files.values()) file.close();
  };
  try {
    const { names, map } = filesOf(folder);
    for (const name of names) {
      files.set(name, openSlices(join(folder, name)));
    }
    return { homes: homesOf(folder, files, map), close };
  } catch (error) {
    close();
    throw error;
  }
}

function openWeights(folder: string, tied: boolean): Weights {
  const { homes, close } = openTensors(folder);
  try {
    const tensors = new Map<string, WeightInfo>();
    for (const [name, file] of homes) if (isNeeded(name, tied)) tensors.set(name, weightInfo(folder, name, file));
    return {
      ...{ path: folder, tensors, close },
      read(name, shard) {
        const { dtype, shape } = tensors.get(name) as WeightInfo;
        const file = homes.get(name) as SlicedFile;
        const values = new Float32Array(sizeOf(shape) / (shard?.of ?? 1));
        let done = 0;
        for (const [from, to] of runsOf(shape, shard)) {
          values.set(toFloat32(dtype, file.read(name, from, to)), done);
          done += to - from;
        }
        return values;
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Old files hold RoPE's frequencies, which we compute, and tied ones may hold the embedding twice. */
const isNeeded = (name: string, tied: boolean): boolean =>
  !name.endsWith('.rotary_emb.inv_freq') && !(tied && name === 'lm_head.weight');

/** The names of the folder's weight files, and the index's map where there are several. */
function filesOf(folder: string): { names: Iterable<string>; map?: Record<string, string> } {
  if (isFile(join(folder, 'model.safetensors'))) return { names: ['model.safetensors'] };
  const path = join(folder, 'model.safetensors.index.json');
  if (!isFile(path))
    throw new UserError(
      `${folder} has neither model.safetensors nor model.safetensors.index.json: give another folder`,
    );
  const index = readJson(path, MOST_INDEX) as { weight_map?: unknown } | null;
  const map = index?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map) || Object.keys(map).length === 0)
    throw new UserError(`${path} has no weight_map of tensors to files`);
  const names = new Set<string>();
  for (const [tensor, name] of Object.entries(map)) {
    // A name alone, without a folder before it: an index must not lead out of the model's folder.
    if (typeof name !== 'string' || !/^[A-Za-z0-9_-][\w.-]*\.safetensors$/.test(name))
      throw new UserError(`${path} says that ${JSON.stringify(tensor)} is in ${show(name)}: that is no file beside it`);
    names.add(name);
  }
  if (names.size > MOST_FILES) throw new UserError(`${path} names ${names.size} files: ${MOST_FILES} is the most`);
  return { names, map: map as Record<string, string> };
}

/** Which file has which tensor: as the index says, where there is one, and each in one file alone. */
function homesOf(folder: string, files: ReadonlyMap<string, SlicedFile>, map?: Record<string, string>) {
  const homes = new Map<string, SlicedFile>();
  for (const [name, file] of files)
    for (const tensor of file.tensors.keys()) {
      if (homes.has(tensor)) throw new UserError(`${folder} has a tensor "${tensor}" in two files`);
      if (map && map[tensor] !== name)
        throw new UserError(`${folder}: "${tensor}" is in ${name}, and its index says ${show(map[tensor])}`);
      homes.set(tensor, file);
    }
  const missing = Object.keys(map ?? {}).find((tensor) => !homes.has(tensor));
  if (missing !== undefined) throw new UserError(`${folder}: "${missing}" is not in the file that its index names`);
  return homes;
}

function weightInfo(folder: string, name: string, file: SlicedFile): WeightInfo {
  const { dtype, shape } = file.tensors.get(name) as TensorInfo;
  if (isFloat(dtype)) return { dtype, shape };
  throw new UserError(`${folder}: "${name}" is ${dtype}: weights are ${FLOATS.join(', ')}`);
}
