/**
 * What every rank did and when, in Chrome's trace event format, which https://ui.perfetto.dev opens.
 *
 *     rank 0 (dp0 tp0)     compute   [ forward        ][ backward            ]
 *                          tp          [ allReduce ]      [ allReduce ]
 *                          tp (2)                            [ allReduce ]       overlaps the one above
 *                          dp                                [ allReduce [ waiting ]]
 *                          GPU compute  [ Product ][ Swiglu ]     what the GPU did, where it was asked
 *                          GPU dp              [ allReduce 25 MB ]
 *
 * A process for each rank, in it a lane for its computing and one for each group. On a lane, an event may lie inside
 * another or beside it, no third way: Perfetto draws anything else wrong. What overlaps gets a lane more. The end of a
 * call for which its rank waited is an event inside it; the rest of it was hidden behind computing.
 *
 * The format: "Trace Event Format", https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
 */
import type { Call, DeviceTrace, Span } from '@fourfold/process-group';
import { callName, spansOf } from './device-timeline.ts';
import type { ScheduleCell } from './schedule-picture.ts';

/** A collective that one rank called: a `Call`, or its copy in JSON. Times are in milliseconds since 1970. */
export interface TracedCall {
  /** 'allReduce' */
  readonly operation: string;
  /** What was called: 'allReduce(sum) of float32 [2,3]'. */
  readonly text: string;
  /** The group's name. */
  readonly group: string;
  /** World ranks of the others. */
  readonly peers: readonly number[];
  /** When it was called. */
  readonly start: number;
  /** When it ended; absent while it goes on. */
  readonly end?: number | undefined;
  /** Bytes of tensors that the rank sent. */
  readonly bytes: number;
  /** Milliseconds that the rank waited, the last ones of the call. */
  readonly waited: number;
}

/** A call as an object that JSON can carry to another process; in the class itself, `waited` is computed. */
export const plainCall = ({ operation, text, group, peers, start, end, bytes, waited }: Call): TracedCall => ({
  operation,
  text,
  group,
  peers,
  start,
  end,
  bytes,
  waited,
});

/** A cell of the schedule as a trace shows it. */
export const spanOf = ({ kind, micro, chunk, start, end }: ScheduleCell): Span => ({
  name: `${kind} of micro-batch ${micro + 1}${chunk > 0 ? `, chunk ${chunk + 1}` : ''}`,
  start,
  end,
});

/** What one rank's recorder kept. */
export interface TracedRank {
  /** World rank. */
  readonly rank: number;
  /** 'dp0 tp1' */
  readonly label: string;
  /** Its collectives. */
  readonly calls: readonly TracedCall[];
  /** What it computed, and when. */
  readonly spans: readonly Span[];
  /** What its GPU did. */
  readonly device?: readonly DeviceTrace[];
}

/** The whole file as text, an event a line. Calls that have not ended leave no mark. */
export function chromeTrace(ranks: readonly TracedRank[]): string {
  const starts = ranks.flatMap(({ calls, spans, device = [] }) =>
    [...calls.filter(hasEnded), ...spans, ...device.flatMap(spansOf)].map(({ start }) => start),
  );
  const first = starts.reduce((least, start) => Math.min(least, start), Number.POSITIVE_INFINITY);
  let thread = ranks.reduce((most, { rank }) => Math.max(most, rank), 0);
  const events = ranks.flatMap((traced) => {
    const { rank, label } = traced;
    const name = label ? `rank ${rank} (${label})` : `rank ${rank}`;
    const lanes = lanesOf(traced, (time) => Math.round(1000 * (time - first)));
    return [
      ...named('process', { pid: rank }, name, rank),
      // A thread with its process's number would be drawn as the main one, above all others.
      ...lanes.flatMap((lane, i) => laneEvents(lane, { pid: rank, tid: ++thread }, i)),
    ];
  });
  const lines = events.map((event) => JSON.stringify(event)).join(',\n');
  return `{"displayTimeUnit":"ms","traceEvents":[\n${lines}\n]}\n`;
}

// ## Events

/** A bar to draw. Times are whole microseconds since the trace's first event, so that equal ones stay equal. */
interface Bar {
  readonly name: string;
  readonly start: number;
  readonly end: number;
  /** From here to the end the rank waited, and no other bar may lie inside. */
  readonly waiting: number;
  readonly details?: Record<string, unknown>;
}

interface Lane {
  readonly name: string;
  readonly bars: readonly Bar[];
}

/** A thread of a process, in the format's words. */
interface Place {
  readonly pid: number;
  readonly tid?: number;
}

/** What a process or thread is called, and its place among the others. */
const named = (what: 'process' | 'thread', place: Place, name: string, index: number): object[] => [
  { ph: 'M', name: `${what}_name`, ...place, args: { name } },
  { ph: 'M', name: `${what}_sort_index`, ...place, args: { sort_index: index } },
];

/** Bars come with the outer one before those inside it. */
const laneEvents = ({ name, bars }: Lane, place: Place, index: number): object[] => [
  ...named('thread', place, name, index),
  ...bars.flatMap((bar) => {
    const { start, end, waiting, details } = bar;
    const complete = (text: string, from: number, args?: object) => ({
      ph: 'X',
      name: text,
      ...place,
      ts: from,
      dur: end - from,
      ...(args && { args }),
    });
    const whole = complete(bar.name, start, details);
    return waiting < end ? [whole, complete('waiting', waiting)] : [whole];
  }),
];

// ## Lanes

/** From a recorder's time to the trace's. */
type Clock = (time: number) => number;

const hasEnded = ({ end }: TracedCall): boolean => end !== undefined;

/** A rank's lanes: computing, then each group in the order of first use; then the same of its GPU. */
function lanesOf({ calls, spans, device = [] }: TracedRank, at: Clock): Lane[] {
  const computing = spans.map(({ name, start, end }) => ({ name, start: at(start), end: at(end), waiting: at(end) }));
  const groups = new Map<string, Bar[]>();
  for (const call of calls.filter(hasEnded).toSorted((a, b) => a.start - b.start)) {
    const bars = groups.get(call.group) ?? [];
    groups.set(call.group, bars);
    bars.push(callBar(call, at));
  }
  return [['compute', computing] as const, ...groups, ...deviceBars(device, at)].flatMap(([name, bars]) =>
    nested(bars).map((lane, i) => ({ name: i === 0 ? name : `${name} (${i + 1})`, bars: lane })),
  );
}

/** By its track's name, what the GPU did. */
function deviceBars(device: readonly DeviceTrace[], at: Clock): Map<string, Bar[]> {
  const tracks = new Map<string, Bar[]>();
  for (const span of device.flatMap(spansOf)) {
    const name = `GPU ${span.track}`;
    const bars = tracks.get(name) ?? [];
    tracks.set(name, bars);
    const [start, end] = [at(span.start), at(span.end)];
    bars.push({ name: callName(span), start, end, waiting: end });
  }
  return tracks;
}

function callBar({ operation, text, start, end = start, waited, bytes, peers }: TracedCall, at: Clock): Bar {
  const details = { call: text, 'bytes sent': bytes, 'waited (ms)': Number(waited.toFixed(3)), 'with ranks': peers };
  return { name: operation, start: at(start), end: at(end), waiting: Math.max(at(start), at(end - waited)), details };
}

/** Bars on as few lanes as they need if each lies inside or beside the others of its lane. */
function nested(bars: readonly Bar[]): Bar[][] {
  const lanes: { bars: Bar[]; open: Bar[] }[] = []; // `open`: those that go on, each inside the one before
  for (const bar of bars.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    for (const lane of lanes) lane.open = lane.open.filter(({ end }) => end > bar.start);
    const lane = lanes.find(({ open }) => bar.end <= (open.at(-1)?.waiting ?? bar.end));
    lane?.bars.push(bar);
    lane?.open.push(bar);
    if (!lane) lanes.push({ bars: [bar], open: [bar] });
  }
  return lanes.map((lane) => lane.bars);
}
