/** Matrices of which ranks have parts. */
import { expect, test } from 'vitest';
import { colored, joined, type Matrix, matrixWords, type Split, transposed } from '../src/figures/matrices.ts';

test('parts are joined along the axis they were split', () => {
  const parts: Matrix[] = [[[1, 2]], [[3, 4]]];
  const results: [Exclude<Split, 'partial'>, Matrix][] = [
    ['same', [[1, 2]]],
    ['rows', [[1, 2], [3, 4]]], // biome-ignore format: rows
    ['columns', [[1, 2, 3, 4]]],
  ];
  for (const [split, result] of results) expect(joined(parts, split)).toEqual(result);
});

test('a transposed matrix is split the other way', () => {
  const shown = { name: 'W', split: 'rows', parts: [[[1, 2]], [[3, 4]]] } as const;
  expect(transposed(shown)).toEqual({
    name: 'Wᵀ',
    split: 'columns',
    parts: [
      [[1], [2]],
      [[3], [4]],
    ],
  });
  expect(joined(transposed(shown).parts, 'columns')).toEqual([
    [1, 3],
    [2, 4],
  ]);
});

test('a number is drawn in the colour of its rank, and a sum as its parts', () => {
  const parts: Matrix[] = [[[1]], [[2]]];
  const ranks = (split: Split) => colored({ name: 'y', split, parts }).map((one) => one.flat().map(({ rank }) => rank));
  expect(ranks('columns')).toEqual([[0, 1]]);
  expect(ranks('rows')).toEqual([[0, 1]]);
  expect(ranks('partial')).toEqual([[0], [1]]);
  expect(colored({ name: 'x', split: 'same', parts: [[[5]]] })).toEqual([[[{ value: 5, rank: undefined }]]]);
});

test('a matrix in words', () => {
  const words = (split: Split, ...parts: Matrix[]) => matrixWords({ name: 'y', split, parts });
  expect(words('same', [[1, 2]])).toBe('y: 1 rows of 2, the same on every rank');
  expect(words('columns', [[1], [2]], [[3], [4]])).toBe('y: 2 rows of 2, its columns split over 2 ranks');
  expect(words('rows', [[1]])).toBe('y: 1 rows of 1, its rows split over 1 rank');
  expect(words('partial', [[1]], [[2]])).toBe('y: 1 rows of 1, one on each of 2 ranks, to be added up');
});
