/**
 * A model's folder as Hugging Face publishes it, or as `fourfold convert` writes it, its weights as stored blocks.
 *
 *     F32, BF16       as they are
 *     F16             as float32, which holds them exactly: no kernel multiplies float16
 *     U8 [rows, bytes of a row]      blocks of the format that the file's metadata names (convert.ts)
 */
import { join } from 'node:path';
import {
  endsOf,
  type Floats,
  openTensors,
  type SlicedFile,
  settingsOf,
  show,
  toFloat32,
  tokenizerFilesOf,
} from '@fourfold/checkpoint';
import { UserError } from '@fourfold/runtime/errors';
import { modelShapeFrom } from './config.ts';
import { BLOCKS, type StoredModel } from './stored.ts';
import { type Source, spellHuggingFace, tensorsThrough } from './views.ts';

/** What a converted folder's files say of their blocks, in the header's metadata. */
export const FORMAT_NOTE = 'fourfold.format';

/**
 * Opens a folder; reads headers alone.
 *
 * @throws UserError where it is none, or no model of ours, or a file in it isn't sound
 */
export function openModelFolder(folder: string): StoredModel {
  const settings = settingsOf(folder);
  const shape = modelShapeFrom(settings, join(folder, 'config.json'));
  const { homes, close } = openTensors(folder);
  try {
    const sources = new Map([...homes].map(([name, file]) => [name, sourceOf(folder, name, file)]));
    const { tensors, read } = tensorsThrough(folder, sources, shape, spellHuggingFace);
    const ends = endsOf(folder, settings);
    return { path: folder, shape, tensors, read, tokenizerFiles: tokenizerFilesOf(folder), ends, close };
  } catch (error) {
    close();
    throw error;
  }
}

const asBytes = (data: ArrayBufferView): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

function sourceOf(folder: string, name: string, file: SlicedFile): Source {
  const { dtype, shape } = file.tensors.get(name) as { dtype: string; shape: readonly number[] };
  const raw = (from: number, to: number) => file.read(name, from, to);
  if (dtype === 'F32') return { format: 'f32', shape, read: (from, to) => asBytes(raw(from, to)) };
  if (dtype === 'BF16') return { format: 'bf16', shape, read: (from, to) => asBytes(raw(from, to)) };
  if (dtype === 'F16')
    return { format: 'f32', shape, read: (from, to) => asBytes(toFloat32('F16', raw(from, to)) as Floats) };
  if (dtype === 'U8') return blocksOf(folder, name, file, shape);
  throw new UserError(`${folder}: "${name}" is ${dtype}: weights are F32, F16, BF16, or blocks in U8`);
}

/** Blocks kept as bytes: the shape is [rows, bytes of a row]. */
function blocksOf(folder: string, name: string, file: SlicedFile, shape: readonly number[]): Source {
  const note = file.metadata[FORMAT_NOTE];
  const format = (['q40', 'q80'] as const).find((each) => each === note);
  if (!format) throw new UserError(`${folder}: "${name}" is U8 in a file of format ${show(note)}: it takes q40 or q80`);
  const { weights, bytes } = BLOCKS[format];
  const [rows = 0, rowBytes = 0, ...more] = shape;
  if (more.length > 0 || rowBytes < 1 || rowBytes % bytes !== 0)
    throw new UserError(`${folder}: "${name}" of shape [${shape}] is not made of ${format} blocks of ${bytes} bytes`);
  const byte = (weight: number) => (weight / weights) * bytes;
  return {
    ...{ format, shape: [rows, (rowBytes / bytes) * weights] },
    read: (from, to) => asBytes(file.read(name, byte(from), byte(to))),
  };
}
