import type { Operation } from '@fourfold/process-group';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatTraffic, type RankReport, trafficReport } from '../src/traffic-report.ts';

const line = (group: string, operation: Operation, calls: number, bytes: number, waited: number) => ({
  group,
  operation,
  calls,
  bytes,
  waited,
});

const local = { steps: 20, sharedMemory: true };
const processes = { steps: 20, sharedMemory: false };

/** dp2 x pp2: the first stage sends activations, the last one gradients and fewer bytes. */
const reports: RankReport[] = [0, 1, 2, 3].map((rank) => {
  const [dp, pp] = [rank >> 1, rank % 2];
  const sent = pp === 0 ? 1_048_576 : 524_288;
  return {
    rank,
    label: `dp${dp} pp${pp}`,
    totals: [
      line('world', 'allReduce', 20, 160, 10 * rank),
      line('pp', 'sendReceive', 40, sent, 1 + rank),
      line('dpCp', 'reduceScatter', 20, 7680, 1500),
      line('dpCp', 'allGather', 20, 7680, 0.04),
    ],
    predicted: { pp: sent, dpCp: 15_360 },
    peakBytes: 312_400_000 + 1e7 * pp,
    bubble: { measured: 0.2 + 0.011 * pp, predicted: 0.2 },
  };
});

test('ranks that agree share a line, beside what the formula says', () => {
  expect(trafficReport(reports, processes)).toBe(
    `
What each rank sent in 20 steps, and how long it waited:
  group  ranks  operation      calls     sent   a step  formula    waited
  world  all    allReduce         20    160 B      8 B  -          0.0-30.0 ms
  pp     pp0    sendReceive       40  1.05 MB  52.4 KB  = 1.05 MB  1.0-3.0 ms
         pp1    sendReceive       40   524 KB  26.2 KB  = 524 KB   2.0-4.0 ms
  dpCp   all    reduceScatter     20  7.68 KB    384 B             1.5 s
                allGather         20  7.68 KB    384 B             0.0 ms
                together          40  15.4 KB    768 B  = 15.4 KB  1.5 s
Peak memory  312 MB (pp0), 322 MB (pp1)
Bubble       formula 20.0%, measured 20.0% (pp0), 21.1% (pp1)`.slice(1),
  );
});

test('ranks of one process have one peak, and a note on what they wait for', () => {
  const text = trafficReport(reports, local);
  expect(text).toContain('how long it waited (ranks share a process: mostly while others computed):\n');
  expect(text).toContain('\nPeak memory  322 MB, of one process for all 4 ranks\n');
});

/** The lines of a report in which a rank has sent `more` bytes than the others in group tp. */
function linesWith(rank: number, more: number): string[] {
  const same = reports.map((report) => ({
    ...report,
    totals: [line('tp', 'allReduce', 40, 12_582_912 + (report.rank === rank ? more : 0), 1)],
    predicted: { tp: 12_582_912 },
  }));
  return trafficReport(same, local).split('\n').slice(2, -2);
}

test('a byte more or less than the formula shows, where rounded figures would not', () => {
  expect(linesWith(2, 0)).toEqual(['  tp     all    allReduce     40  12.6 MB  629 KB  = 12.6 MB  1.0 ms']);
  expect(linesWith(2, 1)).toEqual([
    '  tp     0 1 3    allReduce     40  12.6 MB  629 KB  = 12.6 MB         1.0 ms',
    '         dp1 pp0  allReduce     40  12.6 MB  629 KB  != 12.6 MB + 1 B  1.0 ms',
  ]);
  expect(linesWith(0, -1_048_576)[0]).toContain('!= 12.6 MB - 1,048,576 B');
});

test('a group that should have been used, but was not', () => {
  const [first] = reports as [RankReport];
  const silent = { ...first, totals: [], predicted: { tp: 4096, cp: 0 } };
  expect(trafficReport([silent], local).split('\n').slice(2, 3)).toEqual([
    '  tp     all    none           0   0 B     0 B  != 4.10 KB - 4,096 B  0.0 ms',
  ]);
});

test.each([
  ['pp1', [1, 3]],
  ['dp1', [2, 3]],
  ['dp0 pp1', [1]],
  ['0-2', [0, 1, 2]],
  ['0 3', [0, 3]],
  ['all', [0, 1, 2, 3]],
])('ranks are named by the place that they alone share, else by number: %s', (name, members) => {
  const marked = reports.map((report) => ({ ...report, peakBytes: members.includes(report.rank) ? 1e9 : 1e6 }));
  expect(trafficReport(marked, processes)).toContain(`1.00 GB (${name})`);
});

test('one rank alone has nothing to tell but its memory', () => {
  const alone = { rank: 0, label: '', totals: [], predicted: {}, peakBytes: 312_400_000 };
  expect(trafficReport([alone], local)).toBe('Peak memory  312 MB');
});

test('sixteen ranks, all different, stay within 110 columns', () => {
  const many = Array.from({ length: 16 }, (_, rank) => ({
    rank,
    label: `dp${rank >> 3} pp${(rank >> 2) & 1} cp${(rank >> 1) & 1} tp${rank & 1}`,
    totals: [line('dpCp', 'reduceScatter', 100_000, 123_456_789 + rank, 1234.5 + rank)],
    predicted: { dpCp: 123_456_789 },
    peakBytes: 312e6 + 1e6 * rank,
    bubble: { measured: 0.1 + 0.01 * rank, predicted: rank < 8 ? 0.1 : 0.2 },
  }));
  const lines = trafficReport(many, processes).split('\n');
  expect(Math.max(...lines.map((one) => one.length))).toBeLessThanOrEqual(110);
  expect(lines.filter((one) => one.includes('!='))).toHaveLength(15);
  expect(lines.filter((one) => one.startsWith('Bubble'))).toHaveLength(2);
  expect(lines.join('\n').match(/3\d\d MB/g)).toHaveLength(16);
});

test('columns begin or end at the same place in every line', () => {
  const figure = fc.record({
    calls: fc.nat(1e6),
    bytes: fc.nat(2e9),
    waited: fc.float({ min: 0, max: 1e5, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(figure, { minLength: 1, maxLength: 6 }), (figures) => {
      const some = figures.map(({ calls, bytes, waited }, rank) => ({
        rank,
        label: `tp${rank}`,
        totals: [line('tp', 'allReduce', calls, bytes, waited)],
        predicted: { tp: 1e9 },
        peakBytes: bytes,
      }));
      const [, header = '', ...rows] = trafficReport(some, local).split('\n').slice(0, -1);
      const formula = header.indexOf('formula');
      for (const row of rows) expect(row.slice(formula - 2, formula + 2)).toMatch(/^ {2}(= |!=)$/);
    }),
    { numRuns: 30 },
  );
});

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [999, '999 B'],
  [1000, '1.00 KB'],
  [98_304, '98.3 KB'],
  [12_582_912, '12.6 MB'],
  [999_950_000, '1.00 GB'],
  [31.46e9, '31.5 GB'],
  [1.5e12, '1.50 TB'],
])('%s bytes are %s', (bytes, text) => {
  expect(formatTraffic(bytes)).toBe(text);
});
