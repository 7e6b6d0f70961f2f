/**
 * What the ranks' GPUs did in one step, as one SVG file: a lane for each rank, in it a track for computing and one for
 * each group that communicates.
 *
 *     rank 0   ████████ ████████      ████      compute
 *                    ░░░░░░░░░░░█████           dpCp: pale where computing hides it, strong where it is exposed
 *
 * A bar of computing is many ops: what is less than half a pixel apart is drawn as one, or gaps of a microsecond would
 * look like stripes. A trace for Perfetto (chrome-trace.ts) has the ops one by one.
 */
import { COMPUTE, type DeviceSpan, type DeviceTrace } from '@fourfold/process-group';
import { busyOf, isComputing } from './device-report.ts';
import { extent, type Interval, lengthOf, union, without } from './intervals.ts';
import { type Bar, type Lane, lanesPicture, pixel } from './lanes.ts';
import { formatTraffic } from './traffic-report.ts';

/** A rank with what its GPU did. */
export interface DeviceRank {
  /** 'dp0 tp1' */
  readonly label: string;
  /** Of one step. */
  readonly trace: DeviceTrace;
}

/** What the picture shows. */
export interface DeviceTimelineOptions {
  /** The picture's title. */
  readonly title: string;
  /** From the top. */
  readonly ranks: readonly DeviceRank[];
}

/** Pixels of a track. */
const TRACK = 9;

/** The whole file as text. */
export function deviceTimeline({ title, ranks }: DeviceTimelineOptions): string {
  const spans = ranks.flatMap(({ trace }) => spansOf(trace));
  const { start, end } = extent(spans);
  const groups = [...new Set(spans.map(({ track }) => track))].filter((track) => track !== COMPUTE);
  const tracks = [COMPUTE, ...groups];
  const lanes = ranks.map((rank) => laneOf(rank, pixel(end - start) / 2));
  return lanesPicture({
    title,
    tracks,
    lanes,
    laneHeight: 8 + TRACK * tracks.length,
    note: 'pale: hidden by computing',
  });
}

/** A trace's spans in the clock that all ranks have. */
export const spansOf = ({ start: zero, spans }: DeviceTrace): DeviceSpan[] =>
  spans.map((span) => ({ ...span, start: zero + span.start, end: zero + span.end }));

function laneOf({ label, trace }: DeviceRank, gap: number): Lane {
  const spans = spansOf(trace);
  const busy = busyOf(spans);
  const drawn = union(busy, gap);
  const calls = spans.filter((span) => !isComputing(span));
  return { label, bars: [...drawn.map(computingBar), ...calls.map((call) => callBar(call, busy, drawn))] };
}

const computingBar = (part: Interval): Bar => ({
  ...part,
  track: COMPUTE,
  strong: [part],
  words: `${COMPUTE}: ${(part.end - part.start).toFixed(2)} ms`,
});

/** `drawn` are the bars of computing; how much is exposed is told by the ops themselves, `busy`. */
function callBar(call: DeviceSpan, busy: readonly Interval[], drawn: readonly Interval[]): Bar {
  const { track, start, end } = call;
  const exposed = lengthOf(without([{ start, end }], busy));
  const times = `${(end - start).toFixed(2)} ms, of which ${exposed.toFixed(2)} ms exposed`;
  return {
    track,
    start,
    end,
    strong: without([{ start, end }], drawn),
    words: `${track}: ${callName(call)}, ${times}`,
  };
}

/** 'allReduce 26.2 MB'; an op has its name alone. */
export const callName = ({ name, bytes }: DeviceSpan): string =>
  bytes === undefined ? name : `${name} ${formatTraffic(bytes)}`;
