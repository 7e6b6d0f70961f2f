/** Rows and logits come back as they were sent. */
import { expect, test } from 'vitest';
import type { Logits, Row } from '../src/decoder.ts';
import { partsOfWords, partWords, rowsOfWords, wantedOf, wordsOfParts, wordsOfRows } from '../src/wire.ts';

const rows: Row[] = [
  { token: 7, slot: 0, position: 3, wanted: 'nothing' },
  { token: 131071, slot: 5, position: 8191, wanted: 'all' },
  { token: 0, slot: 1, position: 0, wanted: 4 },
];

test('rows, four words each', () => {
  const words = wordsOfRows(rows);
  expect(words.length).toBe(12);
  expect(rowsOfWords(words)).toEqual(rows);
  expect(wantedOf(rows)).toEqual(['all', 4]);
  expect(wantedOf([{ ...(rows[2] as Row), wanted: 0 }])).toEqual([]);
});

test('parts of logits, where a slice may have fewer tokens than are wanted', () => {
  const parts: Logits[] = [
    { values: Float32Array.of(0.1, -1e-30, Number.NEGATIVE_INFINITY), logSumExp: Math.fround(0.7) },
    { ids: Int32Array.of(9, 11, 10), values: Float32Array.of(3, 2.5, 2.5), logSumExp: Math.fround(3.3) },
  ];
  const words = wordsOfParts(parts);
  expect(words.length).toBe(partWords(['all', 4], 3));
  expect(words.length).toBe(3 + 1 + 2 * 3 + 1);
  expect(partsOfWords(words, ['all', 4], 3)).toEqual(parts);
});
