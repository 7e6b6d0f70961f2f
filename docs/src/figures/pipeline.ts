/**
 * The figure of a pipeline's schedule: which rank computes which micro-batch when, and what it must keep meanwhile.
 *
 *     pp0   1 2     1<< 3 2<< 4 3<<   4<<      the order is pipeline-parallel's timetable, whose ticks are all equal;
 *     pp1     1 1<< 2 2<< 3 3<< 4 4<<          here a backward may take longer than a forward
 *
 * An action starts when its rank has done the one before and what it needs has come: a forward needs the stage before,
 * a backward the stage after, and at the last stage its own forward. Times count in forwards of a whole rank, so that a
 * forward of one of v chunks takes 1/v.
 */
import { idleShare } from '@fourfold/metrics';
import { type Action, bubble, type Engine, timetable } from '@fourfold/pipeline-parallel';
import { percent, plain } from './words.ts';

export interface PipelineChoice {
  readonly engine: Engine;
  readonly pp: number;
  readonly micros: number;
  /** Asked of the interleaved engine; the others have one. */
  readonly chunks: number;
  /** How many forwards a backward takes. */
  readonly ratio: number;
}

export interface Cell extends Action {
  readonly rank: number;
  readonly start: number;
  readonly end: number;
}

export interface PipelineFigure {
  readonly shape: { readonly engine: Engine; readonly pp: number; readonly chunks: number; readonly micros: number };
  /** A row for each rank. */
  readonly rows: readonly (readonly Cell[])[];
  /** When the last cell ends. */
  readonly length: number;
  /** The idle share of the rows. */
  readonly idle: number;
  /** The formula's: it takes groups of micro-batches to be full where ranks have several chunks. */
  readonly formula: number;
  /** The most micro-batches whose activations a rank ever holds, in whole ranks' worth of layers. */
  readonly peaks: readonly number[];
}

// ## The schedule

export function pipelineFigure({ engine, pp, micros, chunks: asked, ratio }: PipelineChoice): PipelineFigure {
  const chunks = engine === 'interleaved' && pp > 1 ? asked : 1;
  const shape = { engine, pp, chunks, micros };
  const rows = clocked(shape, ratio);
  const length = Math.max(...rows.flat().map(({ end }) => end));
  const idle = idleShare(rows.map((cells) => ({ cells })));
  return { shape, rows, length, idle, formula: bubble(shape), peaks: rows.map((cells) => mostHeld(cells) / chunks) };
}

/** A forward adds an activation to what a rank holds, a backward takes one away. */
function mostHeld(cells: readonly Cell[]): number {
  let held = 0;
  return Math.max(...cells.map(({ kind }) => (held += kind === 'forward' ? 1 : -1)));
}

/** What an action must wait for, and undefined for the first stage's forward, which needs tokens alone. */
function neededBy({ kind, micro, chunk }: Action, rank: number, stages: number, pp: number): string | undefined {
  const stage = chunk * pp + rank;
  if (kind === 'forward') return stage > 0 ? `forward ${micro} ${stage - 1}` : undefined;
  return stage < stages - 1 ? `backward ${micro} ${stage + 1}` : `forward ${micro} ${stage}`;
}

/** The timetable's actions in its order, each as early as it can be. */
function clocked(shape: PipelineFigure['shape'], ratio: number): Cell[][] {
  const { pp, chunks } = shape;
  const done = new Map<string, number>();
  const rows: Cell[][] = Array.from({ length: pp }, () => []);
  for (const tick of timetable(shape))
    for (const [rank, action] of tick.entries()) {
      if (!action) continue;
      const row = rows[rank] as Cell[];
      const needed = neededBy(action, rank, pp * chunks, pp);
      const start = Math.max(row.at(-1)?.end ?? 0, needed ? (done.get(needed) as number) : 0);
      const end = start + (action.kind === 'forward' ? 1 : ratio) / chunks;
      row.push({ ...action, rank, start, end });
      done.set(`${action.kind} ${action.micro} ${action.chunk * pp + rank}`, end);
    }
  return rows;
}

// ## A moment of it

/** Activations that each rank holds at a time: of what it has begun forward and not ended backward, in whole ranks'. */
export const heldAt = ({ rows, shape }: PipelineFigure, time: number): number[] =>
  rows.map((cells) => {
    const begun = cells.filter(({ kind, start }) => kind === 'forward' && start < time).length;
    const ended = cells.filter(({ kind, end }) => kind === 'backward' && end <= time).length;
    return (begun - ended) / shape.chunks;
  });

/** The cells in which a rank is at work at a time. */
export const workingAt = ({ rows }: PipelineFigure, time: number): (Cell | undefined)[] =>
  rows.map((cells) => cells.find(({ start, end }) => start <= time && time < end));

/** The figure in two sentences, for who can't see it. */
export function pipelineSummary({ shape, idle, formula, length, peaks }: PipelineFigure): string {
  const idleText = `Ranks are idle for ${percent(idle)} of ${plain(length)} forwards' time; the formula says`;
  const held = peaks.map((peak, rank) => `pp${rank} ${plain(peak)}`).join(', ');
  const most = `Of ${shape.micros} micro-batches' activations a rank holds at most: ${held}.`;
  return `${idleText} ${percent(formula)}. ${most}`;
}
