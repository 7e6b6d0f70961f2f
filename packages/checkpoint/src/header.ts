/**
 * The header of a safetensors file: JSON that says where each tensor lies, and the checks that make it safe to believe.
 *
 *     {"__metadata__": {"made by": "..."}, "norm.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
 *
 * Offsets count bytes from the first data byte. "__metadata__" is the one name that is no tensor: strings to strings.
 * The format: https://github.com/huggingface/safetensors. The tests: `npx nx run checkpoint:test`
 */

/**
 * The arrays that hold each dtype's elements, from the narrowest to the widest. JavaScript on Node 20 has no 16-bit
 * floats: F16 and BF16 come as their raw bits. A BOOL is a byte, 0 or 1.
 */
export const ARRAYS = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
};
const DTYPES = Object.keys(ARRAYS) as DType[];

/** A dtype as safetensors names it: one of ARRAYS. */
export type DType = keyof typeof ARRAYS;
/** A tensor's elements, in the array type of its dtype. */
export type TensorData = InstanceType<(typeof ARRAYS)[DType]>;
/** What a file says of a tensor, beside where its bytes lie. */
export interface TensorInfo {
  /** One of ARRAYS. */
  readonly dtype: DType;
  /** Its sides, the outermost first. */
  readonly shape: readonly number[];
}
/** Where a tensor's bytes lie, counted from the first data byte; `end` is the first byte after them. */
export type Entry = TensorInfo & { readonly begin: number; readonly end: number };
/** What a file says of itself: texts by name. */
export type Metadata = Readonly<Record<string, string>>;

/** How many elements a tensor of this shape has. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, side) => product * side, 1);

/** The bytes that a tensor takes. */
export const byteSize = ({ dtype, shape }: TensorInfo): number => sizeOf(shape) * ARRAYS[dtype].BYTES_PER_ELEMENT;

export const asBytes = (data: TensorData) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

// --- Reading --------------------------------------------------------------------------------------------------------
// A file may come from anywhere, so nothing in it is believed: not that the header is text, not that it is JSON, not
// that the tensors lie inside the file and apart from one another. After these checks reading a tensor can neither
// leave the file nor allocate more than the file has.

/** The bytes before the header, which say how long it is; and the longest that the format's own library takes. */
export const PREFIX = 8;
const MAX_HEADER = 100_000_000;

/** To be filled with the first bytes of a file of `size` bytes. Throws Error where it has none. */
export function emptyPrefix(size: number): BigUint64Array<ArrayBuffer> {
  if (size < PREFIX) throw new Error(`it has ${size} bytes, and the header's length alone takes ${PREFIX}`);
  return new BigUint64Array(1);
}

/** To be filled with what follows. Throws Error where that is longer than the file. */
export function emptyHeader(prefix: BigUint64Array, size: number): Uint8Array<ArrayBuffer> {
  const length = Number(prefix[0]);
  if (length > Math.min(size - PREFIX, MAX_HEADER))
    throw new Error(`its header claims ${length} bytes; ${size - PREFIX} follow, and ${MAX_HEADER} is the most`);
  return new Uint8Array(length);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isMetadata = (value: unknown): value is Metadata =>
  isRecord(value) && Object.values(value).every((note) => typeof note === 'string');
const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);

/** The entries, in the order of their bytes, of a file with `dataBytes` of data. Throws Error with what is wrong. */
export function parseHeader(
  header: Uint8Array,
  dataBytes: number,
): { entries: Map<string, Entry>; metadata: Metadata } {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(header); // throws where it is no UTF-8
  const json: unknown = JSON.parse(text); // throws where it is no JSON
  if (!isRecord(json)) throw new Error('its header is no JSON object');
  const { __metadata__: metadata = {}, ...tensors } = json;
  if (!isMetadata(metadata)) throw new Error('its __metadata__ does not map strings to strings');
  const entries = Object.entries(tensors).map(([name, value]) => [name, parseEntry(name, value)] as const);
  if (countNames(text) !== Object.keys(json).length) throw new Error('its header has the same name twice');
  entries.sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  checkTiling(entries, dataBytes);
  return { entries: new Map(entries), metadata };
}

/** Throws where a tensor's dtype, shape and bytes don't go together; `name` is for the message. */
function parseEntry(name: string, value: unknown): Entry {
  const { dtype: dtypeName, shape, data_offsets: offsets } = isRecord(value) ? value : {};
  const dtype = DTYPES.find((each) => each === dtypeName);
  if (!dtype) throw new Error(`"${name}" has dtype ${JSON.stringify(dtypeName)}, not one of ${DTYPES.join(', ')}`);
  if (!isSizes(shape)) throw new Error(`"${name}" has shape ${JSON.stringify(shape)}, not a list of sizes`);
  const [begin, end, ...more] = isSizes(offsets) ? offsets : [];
  if (begin === undefined || end === undefined || more.length > 0) {
    throw new Error(`"${name}" has data_offsets ${JSON.stringify(offsets)}, not [begin, end]`);
  }
  const bytes = byteSize({ dtype, shape });
  if (bytes !== end - begin) {
    throw new Error(`"${name}", ${dtype} [${shape.join(', ')}], takes ${bytes} bytes and is given ${end - begin}`);
  }
  return { dtype, shape, begin, end };
}

/** Tensors lie end to end from the first data byte to the last: no byte in two of them, none in no tensor. */
function checkTiling(entries: readonly (readonly [string, Entry])[], dataBytes: number): void {
  let cursor = 0;
  for (const [name, { begin, end }] of entries) {
    if (begin !== cursor) throw new Error(`"${name}" begins at data byte ${begin}, not at ${cursor}`);
    cursor = end;
  }
  if (cursor !== dataBytes) throw new Error(`its header describes ${cursor} data bytes, and ${dataBytes} are there`);
}

/**
 * How many names the top level of `text` has: sound JSON, every value there an object. JSON.parse keeps the last of two
 * equal names and says nothing, so that two readers could see different tensors in one file.
 */
function countNames(text: string): number {
  let [depth, names, quoted] = [0, 0, false];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') quoted = !quoted;
    if (quoted && character === '"' && depth === 1) names++;
    if (quoted && character === '\\') i++; // the next character is escaped: it ends no string
    if (!quoted && character === '{') depth++;
    if (!quoted && character === '}') depth--;
  }
  return names;
}

// --- Writing --------------------------------------------------------------------------------------------------------

/**
 * The order of the tensors in a file and the header that says so, the same for the same tensors in whatever order they
 * come, and the same as the format's own library chooses: the widest dtype first, so that every tensor begins at a
 * multiple of its element's size; then by name. Spaces pad the header to a multiple of 8 bytes.
 */
export function layOut<T extends TensorInfo>(tensors: ReadonlyMap<string, T>, metadata: Metadata) {
  const widest = (a: TensorInfo, b: TensorInfo) => DTYPES.indexOf(b.dtype) - DTYPES.indexOf(a.dtype);
  const sorted = [...tensors].sort(([m, a], [n, b]) => widest(a, b) || (m < n ? -1 : 1));
  const fields: [name: string, value: object][] = Object.keys(metadata).length ? [['__metadata__', metadata]] : [];
  let begin = 0;
  for (const [name, info] of sorted) {
    const end = begin + byteSize(info);
    fields.push([name, { dtype: info.dtype, shape: info.shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  // Joined by hand, as an object would put a tensor named "7" first.
  const json = `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const bytes = new TextEncoder().encode(json);
  const header = new Uint8Array(Math.ceil(bytes.length / 8) * 8).fill(0x20);
  header.set(bytes);
  return { header, sorted };
}
