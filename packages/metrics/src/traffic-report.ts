/**
 * The table that a run on several ranks ends with: what each group sent, beside what the formulas say it should have.
 *
 *     group  ranks  operation    calls     sent  a step  formula           waited
 *     tp     all    allReduce       40  12.6 MB  629 KB  = 12.6 MB         1.2-3.4 ms
 *     pp     pp0    sendReceive     20  5.24 MB  262 KB  = 5.24 MB         0.1-0.3 ms
 *            pp1    sendReceive     20  5.24 MB  262 KB  != 5.24 MB + 4 B  0.2 ms
 *
 * Bytes are those that one rank sent, and counted exactly: the formula is equal (=) or not (!=), and then the line says
 * by how much. Ranks with the same figures share a line, and of the times that they waited it has the least and most.
 */
import type { Operation, Totals } from '@fourfold/process-group';
import { formatCount } from './step-line.ts';

/** What one rank reports when its run ends. */
export interface RankReport {
  /** World rank. */
  readonly rank: number;
  /** Its place in the mesh: 'dp0 tp1'. */
  readonly label: string;
  /** From its recorder. */
  readonly totals: readonly Readonly<Totals>[];
  /** By the name of a group: bytes that this rank should have sent in it, in the whole run. */
  readonly predicted: Readonly<Record<string, number>>;
  /** The most bytes that its process held in tensors. */
  readonly peakBytes: number;
  /** Shares of the pipeline's time in which this rank had nothing to do, from 0 to 1. */
  readonly bubble?: { readonly measured: number; readonly predicted: number };
}

/** What the report has to know of the run. */
export interface TrafficOptions {
  /** How many steps the figures are of. */
  readonly steps: number;
  /** The ranks are coroutines of one process: its peak is everybody's. */
  readonly sharedMemory: boolean;
}

/** Several lines, without a newline at the end. */
export function trafficReport(reports: readonly RankReport[], { steps, sharedMemory }: TrafficOptions): string {
  const rows = groupsOf(reports).flatMap((group) => groupRows(group, reports, steps));
  const run = steps === 1 ? 'one step' : `${steps} steps`;
  const note = sharedMemory ? ' (ranks share a process: mostly while others computed)' : '';
  const caption = `What each rank sent in ${run}, and how long it waited${note}:`;
  return [
    ...(rows.length > 0 ? [caption, ...table([header, ...rows])] : []),
    ...memoryLines(reports, sharedMemory),
    ...bubbleLines(reports),
  ].join('\n');
}

// ## The table

const header = ['group', 'ranks', 'operation', 'calls', 'sent', 'a step', 'formula', 'waited'];
const NUMBERS = new Set(['calls', 'sent', 'a step']); // columns that end at the same place

/** Groups that any rank used or should have used, in the order of first use. */
const groupsOf = (reports: readonly RankReport[]): string[] => [
  ...new Set(
    reports.flatMap(({ totals, predicted }) => [
      ...totals.map(({ group }) => group),
      ...Object.keys(predicted).filter((group) => predicted[group] !== 0),
    ]),
  ),
];

/** A group's lines: a block for the ranks that agree in all its figures, with a line for each operation. */
function groupRows(group: string, reports: readonly RankReport[], steps: number): string[][] {
  const used = reports.filter((report) => totalsOf(report, group).length > 0 || (report.predicted[group] ?? 0) !== 0);
  const figures = (report: RankReport) =>
    JSON.stringify([
      report.predicted[group],
      totalsOf(report, group)
        .map(({ operation, calls, bytes }) => [operation, calls, bytes])
        .sort(),
    ]);
  return classes(used, figures).flatMap((members, i) => {
    const lines = operationRows(group, members, steps);
    const place = placeOf(members, reports);
    return lines.map((line, j) => [i + j === 0 ? group : '', j === 0 ? place : '', ...line]);
  });
}

/** A line for each operation of ranks that agree; where there are several, the formula is about their sum. */
function operationRows(group: string, members: readonly RankReport[], steps: number): string[][] {
  const [first] = members as [RankReport];
  const predicted = first.predicted[group];
  const operations = totalsOf(first, group).map(({ operation }) => operation);
  /** The figures of one operation, or of all. */
  const row = (operation?: Operation): string[] => {
    const counts = (totals: Totals) => operation === undefined || totals.operation === operation;
    const sums = members.map((member) => sumOf(totalsOf(member, group).filter(counts)));
    const [{ calls, bytes }] = sums as [Sum];
    const hasFormula = predicted === undefined || operation === undefined || operations.length === 1;
    const formula = hasFormula ? comparison(bytes, predicted) : '';
    const name = operation ?? (operations.length > 0 ? 'together' : 'none');
    const waited = milliseconds(sums.map((sum) => sum.waited));
    return [name, String(calls), formatTraffic(bytes), formatTraffic(bytes / steps), formula, waited];
  };
  const rows = operations.map((operation) => row(operation));
  return operations.length === 1 || predicted === undefined ? rows : [...rows, row()];
}

type Sum = Pick<Totals, 'calls' | 'bytes' | 'waited'>;

function sumOf(totals: readonly Totals[]): Sum {
  const add = (pick: (one: Totals) => number) => totals.reduce((sum, one) => sum + pick(one), 0);
  return { calls: add(({ calls }) => calls), bytes: add(({ bytes }) => bytes), waited: add(({ waited }) => waited) };
}

const totalsOf = (report: RankReport, group: string): readonly Totals[] =>
  report.totals.filter((totals) => totals.group === group);

/** '= 12.6 MB', '!= 12.6 MB + 4 B' where that much more was sent, and '-' where no formula tells. */
function comparison(sent: number, predicted: number | undefined): string {
  if (predicted === undefined) return '-';
  if (sent === predicted) return `= ${formatTraffic(predicted)}`;
  const difference = Math.abs(sent - predicted).toLocaleString('en-US');
  return `!= ${formatTraffic(predicted)} ${sent > predicted ? '+' : '-'} ${difference} B`;
}

/** The least and most of some times: '3.4 ms', '0.2-3.4 ms', and '0.3-12.5 s' from a second on. */
export function milliseconds(times: readonly number[]): string {
  const [unit, length] = Math.max(...times) < 1000 ? (['ms', 1] as const) : (['s', 1000] as const);
  const [least, most] = [Math.min(...times), Math.max(...times)].map((time) => (time / length).toFixed(1));
  return least === most ? `${most} ${unit}` : `${least}-${most} ${unit}`;
}

/** Whole bytes below a thousand, from there on three digits in decimal units: 512 B, 98.3 KB, 1.05 GB. */
export function formatTraffic(bytes: number): string {
  const count = formatCount(bytes).replace('B', 'G');
  return /\d$/.test(count) ? `${count} B` : `${count.slice(0, -1)} ${count.slice(-1)}B`;
}

/** Columns as wide as their widest cell. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] as number;
      return NUMBERS.has(header[column] as string) ? cell.padStart(width) : cell.padEnd(width);
    });
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

// ## Which ranks

/** Ranks of which `figures` says the same, in the order of the first of each class. */
function classes(reports: readonly RankReport[], figures: (report: RankReport) => string): RankReport[][] {
  const found = new Map<string, RankReport[]>();
  for (const report of reports) {
    const key = figures(report);
    found.set(key, [...(found.get(key) ?? []), report]);
  }
  return [...found.values()];
}

/** 'all'; the coordinates that these ranks share and no others have, 'pp0' or 'dp0 tp1'; or their numbers, '0-3 5'. */
function placeOf(members: readonly RankReport[], all: readonly RankReport[]): string {
  if (members.length === all.length) return 'all';
  const words = ({ label }: RankReport) => label.split(' ').filter((word) => word !== '');
  const [first] = members as [RankReport];
  const shared = words(first).filter((word) => members.every((member) => words(member).includes(word)));
  const alike = all.filter((report) => shared.every((word) => words(report).includes(word)));
  return alike.length === members.length ? shared.join(' ') : ranges(members.map(({ rank }) => rank));
}

/** '0-3 5' for 0, 1, 2, 3, 5. */
function ranges(ranks: readonly number[]): string {
  const runs: number[][] = [];
  for (const rank of ranks) {
    const run = runs.at(-1);
    if (run?.at(-1) === rank - 1) run.push(rank);
    else runs.push([rank]);
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}-${run.at(-1)}` : run.join(' '))).join(' ');
}

// ## Memory and bubble

function memoryLines(reports: readonly RankReport[], sharedMemory: boolean): string[] {
  const peak = ({ peakBytes }: RankReport) => formatTraffic(peakBytes);
  const most = formatTraffic(Math.max(...reports.map(({ peakBytes }) => peakBytes)));
  if (reports.length === 1) return [`Peak memory  ${most}`];
  if (sharedMemory) return [`Peak memory  ${most}, of one process for all ${reports.length} ranks`];
  return wrapped('Peak memory  ', values(reports, peak, reports));
}

function bubbleLines(reports: readonly RankReport[]): string[] {
  const percent = (share: number) => `${(100 * share).toFixed(1)}%`;
  const piped = reports.filter(({ bubble }) => bubble !== undefined);
  const formula = ({ bubble }: RankReport) => percent(bubble?.predicted ?? 0);
  const measured = ({ bubble }: RankReport) => percent(bubble?.measured ?? 0);
  return classes(piped, formula).flatMap((members) => {
    const text = `Bubble       formula ${formula(members[0] as RankReport)}, measured `;
    return wrapped(text, values(members, measured, reports));
  });
}

/** '312 MB (pp0)', '298 MB (pp1)': each value once, with the ranks that have it. */
const values = (some: readonly RankReport[], value: (report: RankReport) => string, all: readonly RankReport[]) =>
  classes(some, value).map((members) => `${value(members[0] as RankReport)} (${placeOf(members, all)})`);

/** Items after a heading, on as many lines of at most 110 columns as they take. */
export function wrapped(heading: string, items: readonly string[]): string[] {
  const lines = [heading];
  for (const [i, item] of items.entries()) {
    const text = i < items.length - 1 ? `${item}, ` : item;
    if ((lines.at(-1) as string).length + text.trimEnd().length > 110) lines.push(' '.repeat(heading.length));
    lines[lines.length - 1] += text;
  }
  return lines.map((line) => line.trimEnd());
}
