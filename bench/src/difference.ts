/** How far numbers lie from those that they should be: what bench:gpu-check holds against its bounds. */

/** A measure of two tensors' numbers: 0 where they are the same, infinite where one that should be a number is NaN. */
export type Measure = (actual: Float32Array, expected: Float32Array) => number;

/** The largest difference, in parts of the largest element. */
export function relative(actual: Float32Array, expected: Float32Array): number {
  let [difference, largest] = [0, 0];
  for (const [i, e] of expected.entries()) {
    difference = Math.max(difference, gap(actual[i] as number, e));
    largest = Math.max(largest, Math.abs(e));
  }
  return difference === 0 ? 0 : difference / largest;
}

/**
 * The largest difference in bfloat16's units in the last place, of which half a one is the rounding itself. A number
 * has 8 bits: its unit is 2^-7 of the power of two below it, and no less than that of the smallest power, 2^-126.
 * Numbers under 2^-9 of the largest are held to the unit that they would have at 2^-9 of it.
 */
export function units(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, e) => Math.max(most, Math.abs(e)), 0);
  let worst = 0;
  for (const [i, e] of expected.entries()) {
    const size = Math.max(Math.abs(e), largest * 2 ** -9);
    const difference = gap(actual[i] as number, e);
    const power = Math.max(Math.floor(Math.log2(size)), -126);
    worst = Math.max(worst, difference / 2 ** (power - 7));
  }
  return worst;
}

function gap(actual: number, expected: number): number {
  const difference = Math.abs(actual - expected);
  return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
}

/** The largest of several tensors' differences. */
export const worstOf = (actual: Float32Array[], expected: Float32Array[], measure: Measure): number =>
  Math.max(...actual.map((numbers, i) => measure(numbers, expected[i] as Float32Array)));

/** Whether several tensors are the same to the last bit: 0 is not -0, and a NaN is itself. */
export const sameBits = (a: Float32Array[], b: Float32Array[]): boolean =>
  a.every((numbers, i) => Buffer.compare(bytesOf(numbers), bytesOf(b[i] as Float32Array)) === 0);

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);
