/**
 * A rank's share of the weights, from the root's disk to the worker's.
 *
 *     root                                            worker
 *     slice: name, format, sides, part, SHA-256  ->   looks into its cache
 *                                                <-   have: 1, or 0
 *     bytes, in frames of 1 MiB, if 0            ->   compares the hash, writes them to its cache
 *     ... every tensor of which it holds a part
 *     slice: nothing                             ->   that was all
 *
 * The worker then opens what it has as a model of which only its parts can be read, and loads it like any other. The
 * root holds one slice a worker at a time; the worker one slice, and it writes it before the next.
 *
 * The embedding, of which no rank holds anything, is not among them: a step brings the rows of its tokens.
 */
import { RunError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { type ModelShape, tensorShapes } from '../shape.ts';
import { EMBEDDING, partOf, type Share } from '../slices.ts';
import { bytesOf, lengthOf, type Part, type Span, type StoredModel, type StoredTensor } from '../stored.ts';
import { type Control, MAX_BODY, parseBody } from './control.ts';
import { hashOf, type SliceCache } from './slice-cache.ts';

/** More than any tensor's share, and no number that could do harm. */
const MAX_SLICE = 2 ** 36;
const side = z
  .int()
  .min(0)
  .max(2 ** 40);
const span = z.tuple([side, side]);

const sliceNote = z.object({
  name: z.string().min(1).max(200),
  format: z.enum(['f32', 'bf16', 'q40', 'q41', 'q80']),
  shape: z.array(side).min(1).max(2),
  rows: span.optional(),
  columns: span.optional(),
  bytes: z.int().min(0).max(MAX_SLICE),
  sha256: z.string().regex(/^[\da-f]{64}$/),
});
type SliceNote = z.output<typeof sliceNote>;

/** What was sent, and what the worker had already; in bytes. */
export interface Streamed {
  readonly sent: number;
  readonly had: number;
}

/** A worker's model: what came of it, and the rows of the embedding that the step at hand needs. */
export interface ReceivedModel extends StoredModel {
  /** Takes the rows of these tokens, one behind the other. */
  putEmbeddings(tokens: readonly number[], bytes: Uint8Array): void;
}

/** Sends a worker its share. Rejects where the worker goes. */
export async function sendShare(control: Control, model: StoredModel, share: Share): Promise<Streamed> {
  let [sent, had] = [0, 0];
  for (const [name, { format, shape }] of model.tensors) {
    const part = partOf(name, model.shape, share) ?? NOTHING;
    const bytes = model.read(name, part);
    control.tell('slice', { name, format, shape, ...part, bytes: bytes.length, sha256: hashOf(bytes) });
    if (bytes.length === 0) continue; // an untied embedding: its format and sides are all that is needed
    const [has] = await control.expect('have');
    if (has) had += bytes.length;
    else sent += await sendBytes(control, bytes);
  }
  control.send('slice');
  return { sent, had };
}

/** The part of a tensor that a rank has which has none of it. */
const NOTHING: Part = { rows: [0, 0] };

async function sendBytes(control: Control, bytes: Uint8Array): Promise<number> {
  for (let start = 0; start < bytes.length; start += MAX_BODY) {
    control.send('bytes', bytes.subarray(start, start + MAX_BODY));
    await control.drained();
  }
  return bytes.length;
}

/**
 * Receives this rank's share into its cache.
 *
 * @throws RunError where what comes is not what was announced, or not what a model of this shape has
 */
export async function receiveShare(control: Control, cache: SliceCache, shape: ModelShape): Promise<ReceivedModel> {
  const slices = new Map<string, SliceNote>();
  const expected = tensorShapes(shape);
  for (;;) {
    const body = await control.expect('slice');
    if (body.length === 0) break;
    const note = checkedNote(body, expected);
    slices.set(note.name, note);
    if (note.bytes === 0) continue;
    const has = cache.has(note.sha256, note.bytes);
    control.send('have', Uint8Array.of(has ? 1 : 0));
    if (!has) cache.write(note.sha256, await receiveBytes(control, note));
  }
  const missing = [...expected.keys()].find((name) => !slices.has(name));
  if (missing) throw new RunError(`the root left out ${missing}`);
  return new SlicedModel(control.name, shape, slices, cache);
}

function checkedNote(body: Uint8Array, expected: ReadonlyMap<string, readonly number[]>): SliceNote {
  const { success, data } = sliceNote.safeParse(parseBody(body));
  if (!success) throw new RunError('the root announced a slice that makes no sense');
  const sides = expected.get(data.name);
  if (!sides) throw new RunError(`the root announced ${data.name}, of which this model has none`);
  if (String(sides) !== String(data.shape))
    throw new RunError(`the root announced ${data.name} of ${data.shape}, where it has ${sides}`);
  const { rows, columns } = wholePart(data, data);
  const fits = rows[0] <= rows[1] && rows[1] <= (data.shape[0] as number) && columns[1] <= (data.shape[1] ?? 1);
  if (!fits || columns[0] > columns[1] || bytesOf(data.format, lengthOf(rows) * lengthOf(columns)) !== data.bytes)
    throw new RunError(`the root announced ${data.bytes} bytes of ${data.name}, which are not that part of it`);
  return data;
}

interface Spans {
  readonly rows?: Span | undefined;
  readonly columns?: Span | undefined;
}

const wholePart = ({ shape }: Pick<StoredTensor, 'shape'>, { rows, columns }: Spans) => ({
  rows: rows ?? ([0, shape[0] as number] as const),
  columns: columns ?? ([0, shape[1] ?? 1] as const),
});

async function receiveBytes(control: Control, { name, bytes, sha256 }: SliceNote): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (let got = 0; got < bytes; got += pieces.at(-1)?.length ?? 0) pieces.push(await control.expect('bytes'));
  const all = Buffer.concat(pieces);
  if (all.length !== bytes || hashOf(all) !== sha256)
    throw new RunError(`${name} arrived altered: its hash is another`);
  return all;
}

/** A model of which only these slices are here. */
class SlicedModel implements ReceivedModel {
  readonly path: string;
  readonly shape: ModelShape;
  readonly tensors: ReadonlyMap<string, SliceNote>;
  readonly tokenizerFiles = new Map<string, string>();
  readonly ends = {};
  readonly #cache: SliceCache;
  readonly #embeddings = new Map<number, Uint8Array>();

  constructor(path: string, shape: ModelShape, slices: ReadonlyMap<string, SliceNote>, cache: SliceCache) {
    this.path = path;
    this.shape = shape;
    this.tensors = slices;
    this.#cache = cache;
  }

  putEmbeddings(tokens: readonly number[], bytes: Uint8Array): void {
    const size = bytes.length / tokens.length;
    this.#embeddings.clear();
    for (const [i, token] of tokens.entries()) this.#embeddings.set(token, bytes.slice(i * size, (i + 1) * size));
  }

  read(name: string, part: Part = {}): Uint8Array {
    const row = name === EMBEDDING ? this.#embeddings.get(part.rows?.[0] ?? -1) : undefined;
    if (row && part.rows && lengthOf(part.rows) === 1) return row;
    const slice = this.tensors.get(name);
    const isThis = slice && JSON.stringify(wholePart(slice, part)) === JSON.stringify(wholePart(slice, slice));
    if (!slice || !isThis) throw new RunError(`the root has not sent ${name}, or another part of it`);
    return this.#cache.read(slice.sha256);
  }

  close(): void {
    this.#embeddings.clear();
  }
}
