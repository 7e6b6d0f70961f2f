/** The figure of a pipeline against the package's own timetable, its formulas, and what must always hold. */
import { bubble, type Engine, timetable, warmUp } from '@fourfold/pipeline-parallel';
import { describe, expect, test } from 'vitest';
import { heldAt, pipelineFigure, pipelineSummary, workingAt } from '../src/figures/pipeline.ts';

const ENGINES: readonly [Engine, number][] = [
  ['afab', 1],
  ['1f1b', 1],
  ['interleaved', 2],
  ['interleaved', 3],
];
const choice = (engine: Engine, chunks: number, pp: number, micros: number, ratio: number) =>
  pipelineFigure({ engine, chunks, pp, micros, ratio });

describe.each(ENGINES)('%s with %i chunks', (engine, chunks) => {
  const startsOf = (pp: number, micros: number) => {
    const { rows, shape } = choice(engine, chunks, pp, micros, 1);
    const ticks = timetable(shape);
    return rows.flatMap((cells, rank) => {
      const expected = ticks.flatMap((tick, i) => (tick[rank] ? [i / shape.chunks] : []));
      return cells.map(({ start }, i) => ({ start, tick: expected[i] as number }));
    });
  };

  test('where backward is as long as forward, a cell starts at its tick of the timetable', () => {
    for (const [pp, micros] of [[1, 3], [2, 6], [4, 8]] as const) // biome-ignore format: a list
      for (const { start, tick } of startsOf(pp, micros)) expect(start).toBeCloseTo(tick, 9);
  });

  test('where a group of micro-batches is not full, never later', () => {
    for (const { start, tick } of startsOf(2, 5)) expect(start).toBeLessThan(tick + 1e-9);
  });

  test('idle time is what the formula says, whatever a backward takes', () => {
    for (const ratio of [1, 2, 3])
      for (const pp of [1, 2, 4, 8]) {
        const { idle, formula, shape } = choice(engine, chunks, pp, 2 * pp, ratio);
        expect(formula).toBe(bubble(shape));
        expect(idle).toBeCloseTo(formula, 9);
      }
  });

  test('a rank holds at most one more than its warm-up, and nothing at the end', () => {
    const figure = choice(engine, chunks, 4, 8, 2);
    const { shape, rows, peaks, length } = figure;
    const all = shape.micros * shape.chunks;
    expect(peaks).toEqual(rows.map((_, rank) => Math.min(all, warmUp(shape, rank) + 1) / shape.chunks));
    const times = rows.flat().map(({ end }) => end - 1e-6);
    for (const rank of rows.keys())
      expect(Math.max(...times.map((time) => heldAt(figure, time)[rank] as number))).toBe(peaks[rank]);
    expect(heldAt(figure, length)).toEqual([0, 0, 0, 0]);
  });

  test('no two cells of a rank overlap, and each micro-batch goes through every stage once each way', () => {
    const { rows, shape } = choice(engine, chunks, 3, 6, 1.5);
    for (const cells of rows) {
      for (const [i, cell] of cells.slice(1).entries()) expect(cell.start).toBeGreaterThanOrEqual(cells[i]?.end ?? 0);
      const keys = new Set(cells.map(({ kind, micro, chunk }) => `${kind} ${micro} ${chunk}`));
      expect(keys.size).toBe(cells.length);
      expect(cells.length).toBe(2 * shape.micros * shape.chunks);
    }
  });
});

test('at a moment, who is in a cell works in it', () => {
  const figure = choice('1f1b', 1, 2, 2, 2);
  expect(workingAt(figure, 0.5).map((cell) => cell?.micro)).toEqual([0, undefined]);
  expect(workingAt(figure, 1.5).map((cell) => cell?.kind)).toEqual(['forward', 'forward']);
  expect(workingAt(figure, figure.length)).toEqual([undefined, undefined]);
});

test('the summary has the bubble and what each rank holds', () => {
  expect(pipelineSummary(choice('1f1b', 1, 2, 3, 2))).toBe(
    "Ranks are idle for 25.0% of 12 forwards' time; the formula says 25.0%. " +
      "Of 3 micro-batches' activations a rank holds at most: pp0 2, pp1 1.",
  );
});
