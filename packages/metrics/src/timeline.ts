/**
 * What every rank communicated and when, as one SVG file: a lane for each rank, in it a track for each group, and on
 * it a bar for each collective.
 *
 * The pale part of a bar is time in which the rank computed something else, or nothing was due yet; the strong part is
 * time for which it waited. A browser shows over each bar what was called, how many bytes were sent and to whom.
 */
import type { TracedCall } from './chrome-trace.ts';
import { escaped, picture, px, type Scale, scale, ticks } from './svg.ts';

/** A rank's calls, as its recorder's trace has them. */
export interface TimelineRank {
  /** 'dp0 tp1', or 'rank 3'. */
  readonly label: string;
  readonly calls: readonly TracedCall[];
}

export interface TimelineOptions {
  readonly title: string;
  readonly ranks: readonly TimelineRank[];
}

const width = 960;
const lane = 26; // pixels
const plot = { left: 110, right: width - 24, top: 92 };
const colors = ['#2f6fde', '#d9622b', '#2a9d62', '#8a56c9', '#c2416b', '#9a7b1c']; // of groups, in order of first use

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

/** The whole file as text. Calls that have not ended leave no mark. */
export function timeline({ title, ranks }: TimelineOptions): string {
  const ended = ranks.flatMap(({ calls }) => calls).filter(({ end }) => end !== undefined);
  const first = ended.reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY);
  const last = ended.reduce((most, { end = 0 }) => Math.max(most, end), 0);
  const length = ended.length > 0 ? last - first : 1;
  const x = scale([0, length], [plot.left, plot.right]);
  const groups = [...new Set(ended.map(({ group }) => group))];
  const bottom = plot.top + ranks.length * lane;
  const height = bottom + 58;
  return picture({ title, width, height, style }, [
    ...groups.map((group, i) => legend(group, i)),
    ...ticks(0, length, 10).map((time) => gridLine(x(time), time, bottom)),
    `<text x="${px((plot.left + plot.right) / 2)}" y="${height - 14}" text-anchor="middle">milliseconds</text>`,
    ...ranks.flatMap(({ label, calls }, i) => {
      const y = plot.top + i * lane;
      const place = `x="${plot.left - 12}" y="${y + lane / 2}" dy="4.5" text-anchor="end"`;
      const name = `<text ${place}>${escaped(label)}</text>`;
      return [name, ...calls.map((call) => bar(call, groups, (time) => x(time - first), y))];
    }),
  ]);
}

const colorOf = (group: number): string => colors[group % colors.length] as string;

function legend(group: string, i: number): string {
  const left = 24 + i * 110;
  const box = `<rect x="${left}" y="57" width="14" height="14" rx="3" fill="${colorOf(i)}"/>`;
  return `${box}<text x="${left + 21}" y="64" dy="4.5">${escaped(group)}</text>`;
}

function gridLine(x: number, time: number, bottom: number): string {
  const line = `<line class="grid" x1="${px(x)}" x2="${px(x)}" y1="${plot.top}" y2="${bottom}"/>`;
  return `${line}<text x="${px(x)}" y="${bottom + 21}" text-anchor="middle">${time}</text>`;
}

/** A call from its start to its end, the end of it strong for as long as it was waited for. */
function bar(call: TracedCall, groups: readonly string[], x: Scale, y: number): string {
  const { start, end, waited, group, text, bytes, peers } = call;
  if (end === undefined) return '';
  const color = colorOf(groups.indexOf(group));
  const track = (lane - 8) / groups.length;
  const top = y + 4 + groups.indexOf(group) * track;
  const box = (from: number, opacity: number) => {
    const across = `x="${px(x(from))}" width="${px(Math.max(0.5, x(end) - x(from)))}"`;
    return `<rect ${across} y="${px(top)}" height="${px(track)}" fill="${color}" opacity="${opacity}"/>`;
  };
  const sent = `${bytes} bytes sent, ${(end - start).toFixed(2)} ms, waited ${waited.toFixed(2)} ms`;
  const words = escaped(`${group}: ${text}; ${sent}; with ranks ${peers.join(', ')}`);
  return `<g><title>${words}</title>${box(start, 0.35)}${waited > 0 ? box(end - waited, 1) : ''}</g>`;
}
