/**
 * A GGUF file: what llama.cpp keeps a model in, weights, settings and vocabulary in one.
 *
 *     "GGUF", version, how many tensors, how many settings
 *     settings     "llama.block_count": 30, "tokenizer.ggml.tokens": [...], ...
 *     tensors      name, sides (the innermost first), format, offset
 *     the tensors' blocks, from a multiple of 32 on
 *
 * @huggingface/gguf reads the settings and the list of tensors. It's given the file's bytes through a reader that ends
 * where the file ends, and what it returns is believed only where it fits the file.
 * The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
import { closeSync } from 'node:fs';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { fillSync, openFile } from '../files.ts';
import { sizeOf } from '../header.ts';
import { type BlockFormat, dequantize, FORMATS } from './dequantize.ts';

/** What a file says of one tensor. */
export interface GgufTensor {
  /** The outermost side first, as everywhere here. */
  readonly shape: readonly number[];
  /** What its weights are kept in. */
  readonly format: BlockFormat;
  /** Its first byte in the file. */
  readonly begin: number;
}

/** An open GGUF file. */
export interface GgufFile {
  /** Where it lies. */
  readonly path: string;
  /** By key, such as 'llama.embedding_length'. */
  readonly settings: ReadonlyMap<string, unknown>;
  /** By ggml's names, such as 'blk.0.attn_q.weight'. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** The blocks of weights `from` up to `to` of a tensor as they are; both are multiples of its block's length. */
  readBlocks(name: string, from: number, to: number): Uint8Array;
  /** The same weights as float32. */
  read(name: string, from: number, to: number): Float32Array;
  /** Closes the file. */
  close(): void;
}

/** The least that a tensor or a setting takes in the list of them, in bytes. */
const LEAST = { tensor: 24, setting: 13 };
const MOST_TENSORS = 100_000;

/** Opens a file and checks its lists. Throws UserError with the file and what is wrong. */
export async function openGguf(path: string): Promise<GgufFile> {
  const { file, size } = openFile(path);
  try {
    const { settings, tensors } = await readLists(file, size);
    const readBlocks: GgufFile['readBlocks'] = (name, from, to) => {
      const { format, begin } = tensors.get(name) as GgufTensor;
      const bytes = new Uint8Array(((to - from) / format.weights) * format.bytes);
      try {
        fillSync(file, bytes, begin + (from / format.weights) * format.bytes);
      } catch (error) {
        throw new UserError(`${path}: "${name}" cannot be read: ${messageOf(error)}`);
      }
      return bytes;
    };
    return {
      ...{ path, settings, tensors, readBlocks, close: () => closeSync(file) },
      read: (name, from, to) => dequantize((tensors.get(name) as GgufTensor).format, readBlocks(name, from, to)),
    };
  } catch (error) {
    closeSync(file);
    throw new UserError(`${path} is no sound GGUF file: ${messageOf(error)}`);
  }
}

async function readLists(file: number, size: number) {
  checkCounts(file, size);
  // The library reads addresses or files; to it ours is an address, and this answers its requests for bytes.
  const answer: typeof fetch = async (_, request) => {
    const [, from, to] = /bytes=(\d+)-(\d+)/.exec(new Headers(request?.headers).get('range') ?? '') ?? [];
    const [start, end] = [Number(from), Math.min(Number(to) + 1, size)];
    if (start >= size + LOOKAHEAD) throw new Error('the file ends amid its lists');
    const bytes = new Uint8Array(Math.max(0, end - start));
    fillSync(file, bytes, start);
    return new Response(bytes);
  };
  const { gguf } = await import('@huggingface/gguf'); // takes a while to load, and few runs want it
  const { metadata, tensorInfos, tensorDataOffset, littleEndian } = await gguf('http://file', { fetch: answer });
  if (!littleEndian) throw new Error('it is big-endian');
  if (tensorDataOffset > BigInt(size)) throw new Error('the file ends amid its lists');
  const known = [...FORMATS.values()].map((each) => each.name).join(', ');
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, dtype, offset } of tensorInfos) {
    if (tensors.has(name)) throw new Error(`it has two tensors "${name}"`);
    const format = FORMATS.get(dtype);
    if (!format) throw new Error(`"${name}" is in format number ${dtype}: use a file in ${known}`);
    const tensor = { shape: shape.map(Number).reverse(), format, begin: Number(tensorDataOffset + offset) };
    checkTensor(name, tensor, size);
    tensors.set(name, tensor);
  }
  return { settings: new Map(Object.entries(metadata)), tensors };
}

/** The library asks for its next 2 MB while half a megabyte is still ahead: one such request may find nothing. */
const LOOKAHEAD = 2_000_000;

/** Refuses a file that claims more tensors or settings than it has bytes for. */
function checkCounts(file: number, size: number): void {
  const head = new DataView(new ArrayBuffer(24));
  if (size < head.byteLength) throw new Error(`it has ${size} bytes`);
  fillSync(file, new Uint8Array(head.buffer), 0);
  const [magic, version] = [head.getUint32(0, false), head.getUint32(4, true)];
  if (magic !== 0x47475546) throw new Error('it does not begin with "GGUF"');
  if (version !== 2 && version !== 3) throw new Error(`it is of version ${version}, not 2 or 3`);
  const [tensors, settings] = [Number(head.getBigUint64(8, true)), Number(head.getBigUint64(16, true))];
  if (tensors > MOST_TENSORS || tensors * LEAST.tensor + settings * LEAST.setting > size)
    throw new Error(`it claims ${tensors} tensors and ${settings} settings, more than its ${size} bytes hold`);
}

function checkTensor(name: string, { shape, format, begin }: GgufTensor, size: number): void {
  const weights = sizeOf(shape);
  const row = shape.at(-1) ?? 1;
  if (shape.some((side) => side < 1) || row % format.weights !== 0)
    throw new Error(`"${name}" of shape [${shape}] is not made of ${format.name} blocks of ${format.weights}`);
  const end = begin + (weights / format.weights) * format.bytes;
  if (!(end <= size)) throw new Error(`"${name}" ends at byte ${end} of ${size}`);
}
