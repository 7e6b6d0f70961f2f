/**
 * A pipeline's schedule as one SVG file, as the Megatron papers draw it: a row for each pipeline rank, a box for each
 * forward and backward of a micro-batch, its number inside. What stays empty is the bubble.
 *
 *     pp0   1 2     1<< 3 2<< 4 3<<   4<<     1F1B with four micro-batches; a backward (<<) takes twice as long as
 *     pp1     1 1<< 2 2<< 3 3<< 4 4<<         a forward, and both ranks are idle for a fifth of the time
 *
 * Where a rank holds several chunks of the model (interleaved 1F1B), each chunk has a shade of its own.
 *
 * The paper: Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM",
 * https://arxiv.org/abs/2104.04473
 */
import { escaped, picture, px, type Scale, scale, ticks } from './svg.ts';

/** One forward or backward of one micro-batch through one chunk of the model. */
export interface ScheduleCell {
  /** Which way. */
  readonly kind: 'forward' | 'backward';
  /** From 0; the picture counts from 1. */
  readonly micro: number;
  /** Which of the rank's chunks of the model, from 0. */
  readonly chunk: number;
  /** In the picture's unit. */
  readonly start: number;
  /** In the picture's unit. */
  readonly end: number;
}

/** A rank's cells, of which no two overlap. */
export interface ScheduleRank {
  /** 'pp0' */
  readonly label: string;
  /** What it ran. */
  readonly cells: readonly ScheduleCell[];
}

/** What the picture shows. */
export interface ScheduleOptions {
  /** The picture's title. */
  readonly title: string;
  /** What starts and ends count. */
  readonly unit: 'ticks' | 'milliseconds';
  /** From the top. */
  readonly ranks: readonly ScheduleRank[];
}

const width = 960;
const row = { height: 34, gap: 8 }; // pixels
const plot = { left: 76, right: width - 24, top: 94 };

// From the first chunk to the fourth; a fifth begins again. The number is dark on what is light, and light on the rest.
const shades = {
  forward: ['#2f6fde', '#8fb5f2', '#1b4793', '#c3d8f9'],
  backward: ['#d9622b', '#f2a882', '#93401a', '#f9d2bd'],
} as const;
const inks = ['#ffffff', '#1f2733', '#ffffff', '#1f2733'];

const style = `
  svg { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif }
  text { fill: #667080 }
  .title { font-size: 18px; font-weight: 600 }
  .label { font-weight: 600 }
  .title, .label { fill: #1f2733 }
  .card { fill: #ffffff; stroke: #d9dde3 }
  .grid { stroke: #e9ecf0 }
  .idle { fill: #eef0f3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #98a3b3 }
    .title, .label { fill: #e8ecf2 }
    .card { fill: #12171f; stroke: #2b3442 }
    .grid { stroke: #222a36 }
    .idle { fill: #1d2530 }
  }`;

/** The share of the ranks' time, from the first cell's start to the last one's end, that no cell fills: 0 to 1. */
export function idleShare(ranks: readonly Pick<ScheduleRank, 'cells'>[]): number {
  const { first, last, cells } = extent(ranks);
  const busy = cells.reduce((sum, { start, end }) => sum + end - start, 0);
  return cells.length > 0 ? 1 - busy / (ranks.length * (last - first)) : 0;
}

/** The whole file as text. */
export function schedulePicture({ title, unit, ranks }: ScheduleOptions): string {
  const { first, last, cells } = extent(ranks);
  const x = scale([0, last - first], [plot.left, plot.right]);
  const bottom = plot.top + ranks.length * (row.height + row.gap);
  const idle = `idle: ${(100 * idleShare(ranks)).toFixed(1)}% of the ranks' time`;
  const height = bottom + 56;
  return picture({ title, width, height, style }, [
    ...legend(Math.max(0, ...cells.map(({ chunk }) => chunk)) + 1),
    ...ranks.map(({ label }, i) => background(label, rowTop(i))),
    ...ticks(0, last - first, 12).map((time) => gridLine(x(time), time, bottom)),
    ...ranks.flatMap((rank, i) =>
      rank.cells.map((cell) => box(cell, (time) => x(time - first), rowTop(i), unit, first)),
    ),
    `<text x="${px((plot.left + plot.right) / 2)}" y="${height - 14}" text-anchor="middle">${unit}</text>`,
    `<text class="label" x="${plot.right}" y="${height - 14}" text-anchor="end">${idle}</text>`,
  ]);
}

/** All cells, and when the first begins and the last ends; 0 to 1 where there are none. */
function extent(ranks: readonly Pick<ScheduleRank, 'cells'>[]) {
  const cells = ranks.flatMap((rank) => rank.cells);
  if (cells.length === 0) return { first: 0, last: 1, cells };
  const first = cells.reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY);
  const last = cells.reduce((most, { end }) => Math.max(most, end), Number.NEGATIVE_INFINITY);
  return { first, last, cells };
}

const rowTop = (i: number): number => plot.top + i * (row.height + row.gap) + row.gap / 2;

const colorOf = (kind: ScheduleCell['kind'], chunk: number): string => shades[kind][chunk % inks.length] as string;

/** The rank's name, and the whole time in the colour of idleness, for boxes to lie on. */
function background(label: string, top: number): string {
  const place = `x="${plot.left - 14}" y="${top + row.height / 2}" dy="4.5" text-anchor="end"`;
  const across = `x="${plot.left}" width="${plot.right - plot.left}" y="${top}" height="${row.height}"`;
  return `<text class="label" ${place}>${escaped(label)}</text><rect class="idle" ${across} rx="3"/>`;
}

function gridLine(x: number, time: number, bottom: number): string {
  const line = `<line class="grid" x1="${px(x)}" x2="${px(x)}" y1="${plot.top}" y2="${bottom}"/>`;
  return `${line}<text x="${px(x)}" y="${bottom + 21}" text-anchor="middle">${time}</text>`;
}

/** A cell, with the number of its micro-batch where that fits, and over it what it is in words. */
function box(cell: ScheduleCell, x: Scale, top: number, unit: string, first: number): string {
  const { kind, micro, chunk, start, end } = cell;
  const [left, right] = [x(start), x(end)];
  const number = String(micro + 1);
  const across = `x="${px(left + 0.5)}" width="${px(Math.max(0.5, right - left - 1))}"`;
  const shape = `<rect ${across} y="${top}" height="${row.height}" rx="3" fill="${colorOf(kind, chunk)}"/>`;
  const size = Math.min(13, (right - left - 3) / (0.62 * number.length)); // a digit is as wide as 0.62 of its size
  const look = `style="fill: ${inks[chunk % inks.length]}; font-size: ${px(size)}px"`; // the file's own beat attributes
  const place = `x="${px((left + right) / 2)}" y="${top + row.height / 2}" dy="0.35em" text-anchor="middle"`;
  const times = [start, end].map((time) => Number((time - first).toFixed(2)));
  const words = escaped(`${kind} of micro-batch ${number}, chunk ${chunk + 1}: ${times.join(' to ')} ${unit}`);
  return `<g><title>${words}</title>${shape}${size >= 7 ? `<text ${place} ${look}>${number}</text>` : ''}</g>`;
}

/** A square for each shade, with its meaning; and one for idle time. */
function legend(chunks: number): string[] {
  const kinds = (['forward', 'backward'] as const).flatMap((kind) =>
    Array.from({ length: Math.min(chunks, inks.length) }, (_, chunk) => ({
      name: chunks > 1 ? `${kind}, chunk ${chunk + 1}` : kind,
      paint: `fill="${colorOf(kind, chunk)}"`,
    })),
  );
  let left = 24;
  return [...kinds, { name: 'idle', paint: 'class="idle"' }].map(({ name, paint }) => {
    const square = `<rect x="${left}" y="57" width="14" height="14" rx="3" ${paint}/>`;
    const text = `<text x="${left + 21}" y="64" dy="4.5">${name}</text>`;
    left += 44 + 7 * name.length;
    return square + text;
  });
}
