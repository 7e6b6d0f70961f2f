/**
 * What every rank communicated and when, as one SVG file: a lane for each rank, in it a track for each group, and on
 * it a bar for each collective.
 *
 * The pale part of a bar is time in which the rank computed something else, or nothing was due yet; the strong part is
 * time for which it waited. A browser shows over each bar what was called, how many bytes were sent and to whom.
 */
import type { TracedCall } from './chrome-trace.ts';
import { type Bar, lanesPicture } from './lanes.ts';

/** A rank's calls, as its recorder's trace has them. */
export interface TimelineRank {
  /** 'dp0 tp1', or 'rank 3'. */
  readonly label: string;
  /** Its collectives. */
  readonly calls: readonly TracedCall[];
}

/** What the picture shows. */
export interface TimelineOptions {
  /** The picture's title. */
  readonly title: string;
  /** From the top. */
  readonly ranks: readonly TimelineRank[];
}

/** The whole file as text. Calls that have not ended leave no mark. */
export function timeline({ title, ranks }: TimelineOptions): string {
  const lanes = ranks.map(({ label, calls }) => ({ label, bars: calls.flatMap(barOf) }));
  const tracks = [...new Set(lanes.flatMap(({ bars }) => bars.map(({ track }) => track)))];
  return lanesPicture({ title, tracks, lanes, laneHeight: 26 });
}

/** A call from its start to its end, the end of it strong for as long as it was waited for. */
function barOf({ start, end, waited, group, text, bytes, peers }: TracedCall): Bar[] {
  if (end === undefined) return [];
  const sent = `${bytes} bytes sent, ${(end - start).toFixed(2)} ms, waited ${waited.toFixed(2)} ms`;
  const words = `${group}: ${text}; ${sent}; with ranks ${peers.join(', ')}`;
  return [{ track: group, start, end, strong: waited > 0 ? [{ start: end - waited, end }] : [], words }];
}
