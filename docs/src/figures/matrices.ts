/**
 * Matrices as figures show them: what each rank has of one.
 *
 *     same       every rank has all of it
 *     rows       each has some of the rows            columns: some of the columns
 *     partial    each has a matrix of that size, and the matrix is their sum
 */

/** Rows of numbers. */
export type Matrix = readonly (readonly number[])[];

/** What a matrix is to the ranks: the same on all, a part on each, or on each a part of a sum. */
export type Split = 'same' | 'rows' | 'columns' | 'partial';

export interface Shown {
  readonly name: string;
  readonly split: Split;
  /** One for each rank; of `same` the first is all there is to show. */
  readonly parts: readonly Matrix[];
}

// ## Put together

/** Parts put together as they were split. */
export function joined(parts: readonly Matrix[], split: Exclude<Split, 'partial'>): Matrix {
  const [first] = parts as [Matrix];
  if (split === 'same') return first;
  return split === 'rows' ? parts.flat() : first.map((_, i) => parts.flatMap((part) => part[i] as number[]));
}

/** As it is written in x · Wᵀ: W's rows, outputs, are its columns. So a column-parallel layer is split by columns. */
export const transposed = ({ name, split, parts }: Shown): Shown => ({
  name: `${name}ᵀ`,
  split: split === 'rows' ? 'columns' : split === 'columns' ? 'rows' : split,
  parts: parts.map((part) => (part[0] as number[]).map((_, i) => part.map((row) => row[i] as number))),
});

// ## Drawn

export interface MatrixCell {
  readonly value: number;
  /** Whose it is; undefined: every rank has it. */
  readonly rank: number | undefined;
}

/** The matrix, put together of its parts, with whose each number is; of a sum one matrix for each rank. */
export function colored({ split, parts }: Shown): MatrixCell[][][] {
  const owned = parts.map((part, rank) =>
    part.map((row) => row.map((value): MatrixCell => ({ value, rank: split === 'same' ? undefined : rank }))),
  );
  if (split === 'partial') return owned;
  const [first] = owned as [MatrixCell[][]];
  return [split === 'columns' ? first.map((_, i) => owned.flatMap((part) => part[i] as MatrixCell[])) : owned.flat()];
}

/** 'y: 4 rows of 8, its columns split over 2 ranks' */
export function matrixWords(shown: Shown): string {
  const [[rows]] = [colored(shown)] as [[MatrixCell[][]]];
  const size = `${shown.name}: ${rows.length} rows of ${rows[0]?.length}`;
  const ranks = `${shown.parts.length} rank${shown.parts.length > 1 ? 's' : ''}`;
  const how = { same: 'the same on every rank', partial: `one on each of ${ranks}, to be added up` };
  return `${size}, ${shown.split in how ? how[shown.split as 'same'] : `its ${shown.split} split over ${ranks}`}`;
}
