import { expect, test } from 'vitest';
import { decodeStep, encodeStep, packetBytes } from '../src/cluster/packet.ts';
import type { Row } from '../src/decoder.ts';

const rows: Row[] = [
  { token: 128255, slot: 3, position: 70000, wanted: 'nothing' },
  { token: 0, slot: 0, position: 0, wanted: 'all' },
  { token: 7, slot: 1, position: 5, wanted: 40 },
];

test('rows and their embeddings come back as they went', () => {
  const embeddings = Uint8Array.from({ length: 3 * 18 }, (_, i) => i);
  const packet = encodeStep(rows, embeddings);
  expect(packet.length).toBe(packetBytes(3, 18));
  expect(decodeStep(new Uint8Array(packet), 18)).toEqual({ rows, embeddings });
});

test('a packet that is no number of whole rows is refused', () => {
  for (const bytes of [0, 1, 15, 17, 35])
    expect(() => decodeStep(new Uint8Array(bytes), 0)).toThrow(`a step of ${bytes} bytes has no whole rows`);
});
