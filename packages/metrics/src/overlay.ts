/**
 * The loss curves of several runs that should be one, as one SVG file. Above, the curves over each other: the first run
 * as a broad pale line, the others as dashes that take turns along it, so that on one visible line every run is seen.
 * Below, on a logarithmic scale, how far each run has been from the first so far: the largest |loss - first| / first up
 * to each step. Losses are float32, which tells no two numbers apart that differ by less than 6e-8 of their size.
 */
import { escaped, picture, px, type Scale, scale, ticks } from './svg.ts';

/** A run: its name, and its loss in nats a token after step 1, 2, ... */
export interface OverlaySeries {
  /** How the legend names it. */
  readonly name: string;
  /** Nats a token after step 1, 2, ... */
  readonly losses: readonly number[];
}

/** What the picture shows. */
export interface OverlayOptions {
  /** The picture's title. */
  readonly title: string;
  /** The first is the one that the others are compared with. */
  readonly series: readonly [OverlaySeries, ...OverlaySeries[]];
  /** The relative difference that is allowed in the first `steps` steps: a dashed line in the lower panel. */
  readonly limit?: { readonly difference: number; readonly steps: number };
  /** What the upper axis says; default 'loss (nats per token)'. */
  readonly label?: string;
}

/** |loss - reference| / |reference| of each step that both runs have. */
export const relativeDifferences = (losses: readonly number[], reference: readonly number[]): number[] =>
  reference.slice(0, losses.length).map((loss, i) => Math.abs((losses[i] as number) - loss) / Math.abs(loss));

const width = 960;
const height = 640;
const plot = { left: 78, right: 690 };
const upper = { top: 74, bottom: 340 };
const lower = { top: 400, bottom: height - 62 };
const legend = { left: 718, top: 84, row: 25 };
const maxPoints = 240; // of a line: more would double the file, and show nothing
const dash = 9; // pixels

// The first run is grey; the others take these in turn, on a light page and on a dark one.
const light = ['#2f6fde', '#d9622b', '#2a9d5c', '#b93f97', '#b58900', '#0e97a8', '#7a5230'];
const dark = ['#6ea3ff', '#ff9a62', '#5fd08f', '#ee86cf', '#e6bf3c', '#4fd0e0', '#c79b74'];
const lines = (colors: readonly string[]): string =>
  colors.map((color, i) => `.run${i} { stroke: ${color} }`).join(' ');

const style = `
  svg { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif }
  text { fill: #667080 }
  .title { font-size: 18px; font-weight: 600 }
  .title, .value { fill: #1f2733 }
  path, line { fill: none; stroke-linejoin: round }
  .card { fill: #ffffff; stroke: #d9dde3 }
  .grid { stroke: #e9ecf0 }
  .first { stroke: #c3c9d2 }
  .limit { stroke: #667080; stroke-dasharray: 3 3 }
  ${lines(light)}
  @media (prefers-color-scheme: dark) {
    text { fill: #98a3b3 }
    .title, .value { fill: #e8ecf2 }
    .card { fill: #12171f; stroke: #2b3442 }
    .grid { stroke: #222a36 }
    .first { stroke: #4a5566 }
    .limit { stroke: #98a3b3 }
    ${lines(dark)}
  }`;

/** The whole file as text. Losses that are not finite leave no mark. */
export function overlay({ title, series, limit, label = 'loss (nats per token)' }: OverlayOptions): string {
  const [first, ...others] = series;
  const steps = Math.max(2, ...series.map(({ losses }) => losses.length));
  const x = scale([1, steps], [plot.left, plot.right]);
  const apart = others.map(({ losses }) => largestSoFar(relativeDifferences(losses, first.losses)));
  return picture({ title, width, height, style }, [
    ...curves(series, x, label),
    ...differences(apart, x, first.name, limit),
    ...ticks(1, steps, Math.min(8, steps - 1)).map((step) => below(x(step), 21, String(step))),
    below((plot.left + plot.right) / 2, 44, 'step'),
    ...names(series, apart),
  ]);
}

// ## The upper panel

function curves(series: OverlayOptions['series'], x: Scale, label: string): string[] {
  const all = series.flatMap(({ losses }) => losses).filter(Number.isFinite);
  const [least, most] = all.length > 0 ? [Math.min(...all), Math.max(...all)] : [0, 1];
  const room = most - least || 1;
  const [low, high] = [least - 0.06 * room, most + 0.04 * room];
  const y = scale([low, high], [upper.bottom, upper.top]);
  const levels = ticks(low, high, 6);
  const digits = Math.max(...levels.map((level) => (String(level).split('.')[1] ?? '').length));
  const [first, ...others] = series.map(({ losses }) => path(losses, x, y));
  return [
    ...levels.map((level) => gridLine(y(level), level.toFixed(digits))),
    side((upper.top + upper.bottom) / 2, label),
    `<path class="first" stroke-width="7" d="${first}"/>`,
    ...others.map((d, i) => `<path class="${colorOf(i)}" stroke-width="2" ${turns(i, others.length)} d="${d}"/>`),
  ];
}

/** Each of `count` lines is drawn for one dash and leaves the next count - 1 to the others. */
const turns = (i: number, count: number): string =>
  count > 1 ? `stroke-dasharray="${dash} ${dash * (count - 1)}" stroke-dashoffset="${-dash * i}"` : '';

// ## The lower panel

/** Lines of the differences so far. The lowest level stands for equality, which has no logarithm. */
function differences(apart: readonly number[][], x: Scale, first: string, limit: OverlayOptions['limit']): string[] {
  const above0 = apart.flat().filter((value) => value > 0 && Number.isFinite(value));
  const lowest = Math.floor(Math.log10(Math.min(1e-7, ...above0)));
  const highest = Math.ceil(Math.log10(Math.max(1e-6, 10 * (limit?.difference ?? 0), ...above0)));
  const toDecades = scale([lowest - 1, highest], [lower.bottom, lower.top]);
  const y: Scale = (value) => toDecades(value > 0 ? Math.log10(value) : lowest - 1);
  const levels = Array.from({ length: highest - lowest + 1 }, (_, i) => lowest + i);
  return [
    gridLine(lower.bottom, 'equal'),
    ...levels.map((decade) => gridLine(toDecades(decade), `1e${decade}`)),
    side((lower.top + lower.bottom) / 2, 'relative difference'),
    `<text class="value" x="${plot.left}" y="${lower.top - 14}">`,
    `largest difference from ${escaped(first)} so far</text>`,
    ...apart.map((values, i) => `<path class="${colorOf(i)}" stroke-width="1.8" d="${path(values, x, y)}"/>`),
    ...(limit ? [limitLine(x(limit.steps), y(limit.difference), limit.difference)] : []),
  ];
}

function largestSoFar(values: readonly number[]): number[] {
  let largest = 0;
  return values.map((value) => {
    largest = Math.max(largest, value);
    return largest;
  });
}

function limitLine(x: number, y: number, difference: number): string {
  const right = px(Math.min(x, plot.right));
  const line = `<line class="limit" x1="${plot.left}" x2="${right}" y1="${px(y)}" y2="${px(y)}"/>`;
  return `${line}<text x="${plot.left + 6}" y="${px(y - 6)}">allowed: ${difference.toExponential()}</text>`;
}

// ## What both have

const colorOf = (i: number): string => `run${i % light.length}`;

/** A line's places: at most about maxPoints of them, evenly chosen, and the last. */
function path(values: readonly number[], x: Scale, y: Scale): string {
  const every = Math.ceil(values.length / maxPoints);
  const places = values.flatMap((value, i) => {
    const isDrawn = Number.isFinite(value) && (i % every === 0 || i === values.length - 1);
    return isDrawn ? [`${px(x(i + 1))} ${px(y(value))}`] : [];
  });
  return places.length > 0 ? `M${places.join('L')}` : '';
}

function gridLine(y: number, words: string): string {
  const line = `<line class="grid" x1="${plot.left}" x2="${plot.right}" y1="${px(y)}" y2="${px(y)}"/>`;
  return `${line}<text x="${plot.left - 10}" y="${px(y)}" dy="4.5" text-anchor="end">${words}</text>`;
}

const side = (y: number, words: string): string =>
  `<text transform="translate(22 ${px(y)}) rotate(-90)" text-anchor="middle">${escaped(words)}</text>`;

const below = (x: number, down: number, words: string): string =>
  `<text x="${px(x)}" y="${lower.bottom + down}" text-anchor="middle">${words}</text>`;

/** A column on the right: each run's colour, its name, and how far it came from the first at most. */
function names(series: OverlayOptions['series'], apart: readonly number[][]): string[] {
  return series.map(({ name }, i) => {
    const y = legend.top + (i === 0 ? 0 : 2 * i - 0.8) * legend.row;
    const color = i === 0 ? 'class="first" stroke-width="7"' : `class="${colorOf(i - 1)}" stroke-width="2"`;
    const line = `<line ${color} x1="${legend.left}" x2="${legend.left + 22}" y1="${y}" y2="${y}"/>`;
    const text = `<text class="value" x="${legend.left + 32}" y="${y}" dy="4.5">${escaped(name)}</text>`;
    if (i === 0) return line + text;
    const largest = apart[i - 1]?.at(-1) ?? 0;
    const words = largest > 0 ? `at most ${largest.toExponential(1)} apart` : 'equal at every step';
    return `${line}${text}<text x="${legend.left + 32}" y="${y + 18}" dy="4.5">${words}</text>`;
  });
}
