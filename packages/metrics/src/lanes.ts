/**
 * What pictures of time have in common: a lane for each rank, in it a track for each kind of work, and on it bars over
 * an axis of milliseconds.
 *
 *     rank 0   ░░░░░░░████   ░░░░░       a bar is pale, and strong in the parts that matter most
 *                ▒▒▒▒▓▓▓▓▓▓              a track has its colour in all lanes
 *     rank 1   ░░░░░░░████   ░░░░░
 */
import { extent, type Interval } from './intervals.ts';
import { escaped, picture, px, type Scale, scale, ticks } from './svg.ts';

export interface Bar extends Interval {
  /** One of the picture's. */
  readonly track: string;
  readonly strong: readonly Interval[];
  /** What a browser shows over it. */
  readonly words: string;
}

export interface Lane {
  readonly label: string;
  readonly bars: readonly Bar[];
}

export interface LanesOptions {
  readonly title: string;
  /** Names, from above to below. */
  readonly tracks: readonly string[];
  readonly lanes: readonly Lane[];
  /** Pixels. */
  readonly laneHeight: number;
  /** Words below the picture, at its right. */
  readonly note?: string;
}

const width = 960;
const plot = { left: 110, right: width - 24, top: 92 };
const colors = ['#2f6fde', '#d9622b', '#2a9d62', '#8a56c9', '#c2416b', '#9a7b1c']; // of tracks; a seventh begins again

const style = `
  svg { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif }
  text { fill: #667080 }
  .title { font-size: 18px; font-weight: 600; fill: #1f2733 }
  .card { fill: #ffffff; stroke: #d9dde3 }
  .grid { stroke: #e9ecf0 }
  @media (prefers-color-scheme: dark) {
    text { fill: #98a3b3 }
    .title { fill: #e8ecf2 }
    .card { fill: #12171f; stroke: #2b3442 }
    .grid { stroke: #222a36 }
  }`;

/** How many milliseconds a pixel is of a picture of so many. */
export const pixel = (milliseconds: number): number => milliseconds / (plot.right - plot.left);

/** The whole file as text. Time counts from the first bar's start. */
export function lanesPicture({ title, tracks, lanes, laneHeight, note }: LanesOptions): string {
  const { start: first, end: last } = extent(lanes.flatMap(({ bars }) => bars));
  const length = last - first || 1;
  const x = scale([0, length], [plot.left, plot.right]);
  const bottom = plot.top + lanes.length * laneHeight;
  const height = bottom + 58;
  const below = (place: number, anchor: string, text: string) =>
    `<text x="${px(place)}" y="${height - 14}" text-anchor="${anchor}">${escaped(text)}</text>`;
  return picture({ title, width, height, style }, [
    ...tracks.map(legend),
    ...ticks(0, length, 10).map((time) => gridLine(x(time), time, bottom)),
    below((plot.left + plot.right) / 2, 'middle', 'milliseconds'),
    ...(note ? [below(plot.right, 'end', note)] : []),
    ...lanes.flatMap((lane, i) => {
      const y = plot.top + i * laneHeight;
      const place = `x="${plot.left - 12}" y="${y + laneHeight / 2}" dy="4.5" text-anchor="end"`;
      const name = `<text ${place}>${escaped(lane.label)}</text>`;
      const track = (laneHeight - 8) / tracks.length;
      return [
        name,
        ...lane.bars.map((one) => bar(one, tracks.indexOf(one.track), (time) => x(time - first), y, track)),
      ];
    }),
  ]);
}

const colorOf = (track: number): string => colors[track % colors.length] as string;

function legend(track: string, i: number): string {
  const left = 24 + i * 110;
  const box = `<rect x="${left}" y="57" width="14" height="14" rx="3" fill="${colorOf(i)}"/>`;
  return `${box}<text x="${left + 21}" y="64" dy="4.5">${escaped(track)}</text>`;
}

function gridLine(x: number, time: number, bottom: number): string {
  const line = `<line class="grid" x1="${px(x)}" x2="${px(x)}" y1="${plot.top}" y2="${bottom}"/>`;
  return `${line}<text x="${px(x)}" y="${bottom + 21}" text-anchor="middle">${time}</text>`;
}

/** A bar on track `place` of the lane that begins at `y`. */
function bar({ start, end, strong, words }: Bar, place: number, x: Scale, y: number, height: number): string {
  const top = y + 4 + place * height;
  const box = (part: Interval, opacity: number) => {
    const across = `x="${px(x(part.start))}" width="${px(Math.max(0.5, x(part.end) - x(part.start)))}"`;
    return `<rect ${across} y="${px(top)}" height="${px(height)}" fill="${colorOf(place)}" opacity="${opacity}"/>`;
  };
  const parts = strong.map((part) => box(part, 1));
  return `<g><title>${escaped(words)}</title>${box({ start, end }, 0.35)}${parts.join('')}</g>`;
}
