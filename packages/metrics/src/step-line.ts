/**
 * The line that a training step prints: the same columns at the same places, so that eyes and grep find them.
 *
 *     step   12/400 | loss  3.2145 | norm   1.23 | lr 2.9e-04 |  41.2K tok/s |   24.8 ms |  312 MB | mfu 41.3%
 */

/** What one training step measured. */
export interface StepFigures {
  /** From 1. */
  readonly step: number;
  /** How many steps the run has. */
  readonly steps: number;
  /** Mean loss of the step's tokens, in nats a token. */
  readonly loss: number;
  /** Length of the gradient over all parameters, before clipping. */
  readonly gradNorm: number;
  /** Of the step. */
  readonly learningRate: number;
  /** Of all ranks together, over the whole step. */
  readonly tokensPerSecond: number;
  /** Time of the whole step, in milliseconds. */
  readonly milliseconds: number;
  /** The most bytes that tensors held so far. */
  readonly memoryBytes: number;
  /** Share of the device's peak that the step used, from 0 to 1; left out where the peak isn't known. */
  readonly mfu?: number | undefined;
}

/** A step's line, without a newline. */
export function formatStep(figures: StepFigures): string {
  const { step, steps, loss, gradNorm, learningRate, tokensPerSecond, milliseconds, memoryBytes, mfu } = figures;
  const columns = [
    `step ${String(step).padStart(String(steps).length)}/${steps}`,
    `loss ${loss.toFixed(4).padStart(7)}`,
    `norm ${gradNorm.toFixed(2).padStart(6)}`,
    `lr ${formatRate(learningRate)}`,
    `${formatCount(tokensPerSecond).padStart(5)} tok/s`,
    `${milliseconds.toFixed(1).padStart(6)} ms`,
    formatBytes(memoryBytes).padStart(7),
  ];
  if (mfu !== undefined) columns.push(`mfu ${(100 * mfu).toFixed(1)}%`);
  return columns.join(' | ');
}

/** Three digits and a letter for the thousands: 7, 41.2K, 1.71M, 6.74B. */
export function formatCount(count: number): string {
  let value = count;
  for (const letter of ['', 'K', 'M', 'B', 'T']) {
    // Rounded first, so that 999,950 is 1.00M and not 1000K.
    const rounded = letter ? Number(value.toPrecision(3)) : Math.round(value);
    if (rounded < 1000 || letter === 'T') return letter ? `${threeDigits(rounded)}${letter}` : String(rounded);
    value /= 1000;
  }
  return String(count);
}

/** Decimal units: 312 MB, 1.05 GB. */
export function formatBytes(bytes: number): string {
  const megabytes = bytes / 1e6;
  return megabytes < 999.5 ? `${Math.round(megabytes)} MB` : `${threeDigits(bytes / 1e9)} GB`;
}

/** Digits after the point so that there are three in all: 1.23, 12.3, 123, and 1234. */
const threeDigits = (value: number): string =>
  value.toFixed(Math.max(0, 3 - String(Math.floor(Math.abs(value))).length));

/** 2.9e-04: a fixed width, two digits of exponent. */
const formatRate = (rate: number): string => rate.toExponential(1).replace(/e([+-])(\d)$/, 'e$10$2');
