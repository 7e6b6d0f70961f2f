/** The header's checks: what a sound one gives, what each kind of unsound one says. `npx nx run checkpoint:test` */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { byteSize, layOut, parseHeader, type TensorInfo } from '../src/header.ts';

const encode = (text: string) => new TextEncoder().encode(text);
const parse = (text: string, dataBytes: number) => parseHeader(encode(text), dataBytes);
const entry = (fields: object) => JSON.stringify({ a: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...fields } });

// Names that have tripped readers: quotes and braces, numbers (objects reorder them), the prototype.
const name = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('7', '"', '\\', '{"a":{', '__proto__', 'é'));
const info: fc.Arbitrary<TensorInfo> = fc.record({
  dtype: fc.constantFrom('BOOL', 'I8', 'U16', 'BF16', 'I32', 'F32', 'F64', 'I64', 'U64'),
  shape: fc.array(fc.nat({ max: 5 }), { maxLength: 4 }),
});
const infos = fc
  .array(fc.tuple(name, info), { maxLength: 8 })
  .map((all) => new Map(all.filter(([each]) => each !== '__metadata__')));
const metadata = fc.dictionary(name, name);

test('a header that is laid out reads back as the same tensors, whole 8 bytes long', () => {
  fc.assert(
    fc.property(infos, metadata, (tensors, notes) => {
      const { header } = layOut(tensors, notes);
      const total = [...tensors.values()].reduce((sum, each) => sum + byteSize(each), 0);
      const read = parseHeader(header, total);
      expect(header.length % 8).toBe(0);
      expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(notes).sort());
      expect(new Map([...read.entries].map(([key, { dtype, shape }]) => [key, { dtype, shape }]))).toEqual(tensors);
    }),
  );
});

test('the order in which tensors come is not in the header', () => {
  fc.assert(
    fc.property(infos, (tensors) => {
      const reversed = new Map([...tensors].reverse());
      expect(layOut(reversed, {}).header).toEqual(layOut(tensors, {}).header);
    }),
  );
});

test('each tensor begins at a multiple of its element size', () => {
  fc.assert(
    fc.property(infos, (tensors) => {
      const { header } = layOut(tensors, {});
      const total = [...tensors.values()].reduce((sum, each) => sum + byteSize(each), 0);
      for (const { dtype, begin } of parseHeader(header, total).entries.values()) {
        expect(begin % byteSize({ dtype, shape: [] })).toBe(0);
      }
    }),
  );
});

test.each([
  ['no JSON', '{"a":', 8, /JSON/],
  ['no object', '[]', 0, /no JSON object/],
  ['metadata that is no strings', '{"__metadata__":{"steps":3}}', 0, /does not map strings to strings/],
  ['an entry that is no object', '{"a":[1]}', 8, /"a" has dtype undefined/],
  ['an unknown dtype', entry({ dtype: 'F7' }), 8, /"a" has dtype "F7", not one of BOOL, U8/],
  ['a dtype that is a method of objects', entry({ dtype: 'toString' }), 8, /"a" has dtype "toString"/],
  ['a negative size', entry({ shape: [-2] }), 8, /"a" has shape \[-2\], not a list of sizes/],
  ['a fractional size', entry({ shape: [0.5, 4] }), 8, /not a list of sizes/],
  ['a size beyond exact numbers', entry({ shape: [2 ** 53, 2] }), 8, /not a list of sizes/],
  ['a product beyond all numbers', entry({ shape: Array(40).fill(2 ** 40) }), 8, /takes Infinity bytes/],
  ['one offset', entry({ data_offsets: [8] }), 8, /data_offsets \[8\], not \[begin, end\]/],
  ['three offsets', entry({ data_offsets: [0, 8, 16] }), 16, /not \[begin, end\]/],
  ['offsets that are text', entry({ data_offsets: ['0', '8'] }), 8, /not \[begin, end\]/],
  ['a shape that needs other bytes', entry({ shape: [3] }), 8, /"a", F32 \[3\], takes 12 bytes and is given 8/],
  ['an end before its begin', entry({ shape: [0], data_offsets: [8, 0] }), 8, /takes 0 bytes and is given -8/],
  ['a hole at the start', entry({ data_offsets: [4, 12] }), 12, /begins at data byte 4, not at 0/],
  ['bytes in no tensor', entry({}), 12, /describes 8 data bytes, and 12 are there/],
  ['bytes that are missing', entry({}), 4, /describes 8 data bytes, and 4 are there/],
])('%s is refused', (_, text, dataBytes, message) => {
  expect(() => parse(text, dataBytes)).toThrow(message);
});

test('overlapping tensors are refused', () => {
  const a = { dtype: 'F32', shape: [2], data_offsets: [0, 8] };
  const b = { dtype: 'F32', shape: [2], data_offsets: [4, 12] };
  expect(() => parse(JSON.stringify({ a, b }), 12)).toThrow('"b" begins at data byte 4, not at 8');
  expect(() => parse(JSON.stringify({ a, b: a }), 8)).toThrow('"b" begins at data byte 0, not at 8');
});

test('a name that comes twice is refused, also when its bytes are the same', () => {
  const value = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';
  expect(() => parse(`{"a":${value},"a":${value}}`, 8)).toThrow('the same name twice');
  expect(() => parse(`{"a":${value},"\\u0061":${value}}`, 8)).toThrow('the same name twice');
  expect(() => parse('{"__metadata__":{},"__metadata__":{}}', 0)).toThrow('the same name twice');
  expect(parse(`{"__metadata__":{"a":"\\"{"},"a":${value}}`, 8).entries.size).toBe(1);
});

test('bytes that are no UTF-8 are refused', () => {
  expect(() => parseHeader(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d), 0)).toThrow(/valid/);
});

test('whatever JSON a header is, it gives tensors that fill the data or an Error with a message', () => {
  const field = fc.oneof(fc.constantFrom('F32', 'I8', [0, 8], [2], [8], [8, 0], [0]), fc.jsonValue());
  const anyEntry = fc.record({ dtype: field, shape: field, data_offsets: field }, { requiredKeys: [] });
  const anyHeader = fc.oneof(fc.jsonValue(), fc.dictionary(name, fc.oneof(anyEntry, fc.jsonValue()), { maxKeys: 3 }));
  fc.assert(
    fc.property(anyHeader, (json) => {
      try {
        const { entries } = parse(JSON.stringify(json), 8);
        expect([...entries.values()].reduce((sum, each) => sum + byteSize(each), 0)).toBe(8);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
        expect((error as Error).message).toMatch(/its header|__metadata__|" has |takes|begins/);
      }
    }),
    { numRuns: 1000 },
  );
});
