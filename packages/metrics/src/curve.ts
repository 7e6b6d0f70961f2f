/**
 * The loss curve as one SVG file: each step's loss in a pale line, the mean of its neighbourhood in a strong one, and
 * validation as points. Two linear scales, a grid and three paths are less than a plotting library's set-up.
 *
 * The card brings its own background, a light one and a dark one, so that it reads on any page.
 */

import { escaped, picture, px, type Scale, scale, ticks } from './svg.ts';

/** A loss in nats a token (or byte), measured after so many steps. */
export interface CurvePoint {
  /** How many steps were done. */
  readonly step: number;
  /** Nats a token, or a byte. */
  readonly loss: number;
}

/** What a loss curve shows. */
export interface CurveOptions {
  /** The picture's title. */
  readonly title: string;
  /** One point a step, in order. */
  readonly train: readonly CurvePoint[];
  /** Losses on text that is kept from training. */
  readonly validation?: readonly CurvePoint[];
  /** What the vertical axis says; default 'loss (nats per token)'. */
  readonly label?: string;
}

const width = 760;
const height = 420;
const plot = { left: 62, right: width - 64, top: 92, bottom: height - 58 }; // the inside of the axes
const maxPoints = 480; // a point for each pixel and a half: more can't be seen

// Plain classes rather than CSS variables, which few programs besides browsers understand.
const style = `
  svg { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif }
  text { fill: #667080 }
  .title { font-size: 18px; font-weight: 600 }
  .value { font-weight: 600 }
  .title, .value { fill: #1f2733 }
  path, line { fill: none; stroke-linejoin: round; stroke-linecap: round }
  .card { fill: #ffffff; stroke: #d9dde3 }
  .grid { stroke: #e9ecf0 }
  .train { stroke: #2f6fde }
  circle { fill: #d9622b; stroke: #ffffff; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #98a3b3 }
    .title, .value { fill: #e8ecf2 }
    .card { fill: #12171f; stroke: #2b3442 }
    .grid { stroke: #222a36 }
    .train { stroke: #6ea3ff }
    circle { fill: #ff9a62; stroke: #12171f }
  }`;

/** The whole file as text. Losses that are not finite leave no mark. */
export function lossCurve({ title, train, validation = [], label = 'loss (nats per token)' }: CurveOptions): string {
  const steps = thin(train.filter(isDrawn));
  const checks = validation.filter(isDrawn);
  const all = [...steps, ...checks];
  const lastStep = Math.max(1, ...all.map(({ step }) => step));
  const [low, high] = padded(all.map(({ loss }) => loss));
  const x = scale([0, lastStep], [plot.left, plot.right]);
  const y = scale([low, high], [plot.bottom, plot.top]);
  return picture({ title, width, height, style }, [
    ...legend(checks.length > 0),
    ...axes(x, y, ticks(0, lastStep, 8), ticks(low, high, 6), label),
    path(steps, x, y, 'class="train" stroke-width="1" opacity="0.35"'),
    path(smooth(steps), x, y, 'class="train" stroke-width="2.2"'),
    ...checks.map((point) => `<circle cx="${px(x(point.step))}" cy="${px(y(point.loss))}" r="4.5"/>`),
    finalValue(checks.at(-1) ?? smooth(steps).at(-1), x, y),
  ]);
}

const isDrawn = ({ loss }: CurvePoint): boolean => Number.isFinite(loss);
/** The range of the losses with a little room below and above; 0 to 1 where there are none. */
function padded(losses: readonly number[]): [low: number, high: number] {
  if (losses.length === 0) return [0, 1];
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const room = high - low || Math.abs(high) || 1;
  return [low - 0.08 * room, high + 0.04 * room];
}

/** At most maxPoints points: each the mean of the neighbours that it stands for. */
function thin(points: readonly CurvePoint[]): readonly CurvePoint[] {
  const size = Math.ceil(points.length / maxPoints);
  if (size <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / size) }, (_, i) =>
    meanOf(points.slice(i * size, (i + 1) * size)),
  );
}

/**
 * The mean over a window of a twentieth of the curve, centred on the point so that it doesn't lag. At the beginning,
 * where the curve is steep, the window shrinks from both sides; at the end it keeps what lies before.
 */
function smooth(points: readonly CurvePoint[]): readonly CurvePoint[] {
  const reach = Math.floor(points.length / 40);
  return points.map(({ step }, i) => {
    const window = points.slice(Math.max(0, i - reach), i + Math.min(reach, i) + 1);
    return { step, loss: meanOf(window).loss };
  });
}

function meanOf(points: readonly CurvePoint[]): CurvePoint {
  const mean = (pick: (point: CurvePoint) => number): number =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  return { step: mean(({ step }) => step), loss: mean(({ loss }) => loss) };
}

function path(points: readonly CurvePoint[], x: Scale, y: Scale, attributes: string): string {
  const places = points.map(({ step, loss }) => `${px(x(step))} ${px(y(loss))}`);
  return places.length > 0 ? `<path ${attributes} d="M${places.join('L')}"/>` : '';
}

/** What the colours mean, in a row below the title. */
function legend(hasValidation: boolean): string[] {
  const y = 64;
  const train = `<line class="train" stroke-width="2.2" x1="24" x2="44" y1="${y}" y2="${y}"/>`;
  const rows = [train, `<text x="52" y="${y}" dy="4.5">training</text>`];
  if (!hasValidation) return rows;
  return [...rows, `<circle cx="136" cy="${y}" r="4.5"/>`, `<text x="148" y="${y}" dy="4.5">validation</text>`];
}

/** A grid line and a number for each level, numbers under the steps, and what both axes say. */
function axes(x: Scale, y: Scale, steps: readonly number[], levels: readonly number[], label: string): string[] {
  const digits = Math.max(...levels.map((level) => (String(level).split('.')[1] ?? '').length));
  const ends = `x1="${plot.left}" x2="${plot.right}"`;
  const middle = px((plot.top + plot.bottom) / 2);
  return [
    ...levels.map((level) => {
      const at = px(y(level));
      const line = `<line class="grid" ${ends} y1="${at}" y2="${at}"/>`;
      return `${line}<text x="${plot.left - 10}" y="${at}" dy="4.5" text-anchor="end">${level.toFixed(digits)}</text>`;
    }),
    `<line class="grid" stroke-width="2" ${ends} y1="${plot.bottom}" y2="${plot.bottom}"/>`,
    ...steps.map((step) => `<text x="${px(x(step))}" y="${plot.bottom + 21}" text-anchor="middle">${step}</text>`),
    `<text x="${px((plot.left + plot.right) / 2)}" y="${height - 16}" text-anchor="middle">step</text>`,
    `<text transform="translate(22 ${middle}) rotate(-90)" text-anchor="middle">${escaped(label)}</text>`,
  ];
}

/** The number that the run ended with, to the right of where it stands. */
const finalValue = (point: CurvePoint | undefined, x: Scale, y: Scale): string =>
  point
    ? `<text class="value" x="${px(x(point.step) + 11)}" y="${px(y(point.loss) + 4.5)}">${point.loss.toFixed(2)}</text>`
    : '';
