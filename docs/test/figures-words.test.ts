/** How figures write numbers. */
import { expect, test } from 'vitest';
import { byteText, percent, plain } from '../src/figures/words.ts';

test('numbers have two decimals at most', () => {
  expect([plain(2), plain(2.5), plain(1 / 3), plain(-0.001)]).toEqual(['2', '2.5', '0.33', '0']);
});

test('shares are percentages of one decimal', () => {
  expect([percent(0), percent(1 / 3), percent(1)]).toEqual(['0.0%', '33.3%', '100.0%']);
});

test('bytes have the largest unit of which there is one', () => {
  const sizes = [0, 1, 1023, 1024, 1536, 2 ** 20, 25 * 2 ** 20, 3 * 2 ** 40];
  const texts = ['0 B', '1 B', '1023 B', '1 KiB', '1.5 KiB', '1 MiB', '25 MiB', '3072 GiB'];
  expect(sizes.map(byteText)).toEqual(texts);
});
