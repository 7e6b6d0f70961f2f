import type { DeviceSpan, DeviceTrace } from '@fourfold/process-group';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { deviceReport, deviceShares } from '../src/device-report.ts';

const span = (track: string, start: number, end: number): DeviceSpan => ({ track, name: 'work', start, end });
const trace = (...spans: DeviceSpan[]): DeviceTrace => ({ start: 1_750_000_000_000, spans });

/**
 *     compute   ####  ######          ##        10 of 20
 *     tp          ----------                    10, of which 2 and 2 are exposed
 *     dp                  --------              8, of which 6 are exposed, 2 of them with tp's
 */
const step = trace(
  span('compute', 2, 6),
  span('compute', 8, 12),
  span('compute', 18, 20),
  span('tp', 4, 14),
  span('dp', 10, 18),
);

test('what runs at once counts once, and communication is exposed where no op runs', () => {
  expect(deviceShares(step)).toEqual({
    whole: 20,
    compute: 10,
    communication: 14,
    exposed: 8, // 6 to 8, and 12 to 18
    exposedBy: { tp: 4, dp: 6 },
  });
});

test('a GPU that only computes exposes nothing, one that only communicates all; no spans are no time', () => {
  expect(deviceShares(trace(span('compute', 0, 5)))).toMatchObject({ whole: 5, compute: 5, exposed: 0, exposedBy: {} });
  expect(deviceShares(trace(span('tp', 1, 5)))).toMatchObject({ whole: 5, compute: 0, communication: 4, exposed: 4 });
  expect(deviceShares(trace())).toEqual({ whole: 0, compute: 0, communication: 0, exposed: 0, exposedBy: {} });
});

test('what passes from one kernel to the next exposes nothing; a longer gap does', () => {
  const ops = (gap: number) => [span('compute', 0, 5), span('compute', 5 + gap, 9)];
  expect(deviceShares(trace(...ops(0.004), span('tp', 1, 8)))).toMatchObject({ compute: 9 - 0.004, exposed: 0 });
  expect(deviceShares(trace(...ops(0.5), span('tp', 1, 8)))).toMatchObject({ compute: 8.5, exposed: 0.5 });
});

test('the shares are those that counting millisecond by millisecond gives', () => {
  const track = fc.constantFrom('compute', 'tp', 'dp');
  const spans = fc.array(
    fc.tuple(track, fc.nat(40), fc.nat(9)).map(([name, at, length]) => span(name, at, at + length)),
  );
  fc.assert(
    fc.property(spans, (some) => {
      const count = (is: (on: (...tracks: string[]) => boolean) => boolean) =>
        Array.from({ length: 50 }, (_, t) =>
          is((...tracks) => some.some((one) => tracks.includes(one.track) && one.start <= t && t < one.end)),
        ).filter(Boolean).length;
      const { exposedBy, ...shares } = deviceShares(trace(...some));
      expect(shares).toEqual({
        whole: Math.max(0, ...some.map(({ end }) => end)),
        compute: count((on) => on('compute')),
        communication: count((on) => on('tp', 'dp')),
        exposed: count((on) => on('tp', 'dp') && !on('compute')),
      });
      for (const group of ['tp', 'dp']) expect(exposedBy[group] ?? 0).toBe(count((on) => on(group) && !on('compute')));
    }),
  );
});

test('the report has the mean of the steps, and of several groups what each exposes', () => {
  const shorter = trace(span('compute', 0, 8), span('dp', 6, 10));
  expect(deviceReport([{ device: [step, shorter] }])).toEqual([
    'GPU time     15.0 ms a step, compute 9.0 ms (60.0%), communication 9.0 ms (60.0%), exposed 5.0 ms (33.3%),',
    '             in tp 2.0 ms (13.3%), in dp 4.0 ms (26.7%)',
  ]);
});

test('of several ranks the least and the most, and those without a trace have no part in it', () => {
  const other = trace(span('compute', 0, 10), span('dp', 5, 20));
  expect(
    deviceReport([{ device: [trace(span('compute', 0, 9), span('dp', 5, 10))] }, { device: [other] }, {}]),
  ).toEqual([
    'GPU time     10.0-20.0 ms a step, compute 9.0-10.0 ms (50.0-90.0%), communication 5.0-15.0 ms (50.0-75.0%),',
    '             exposed 1.0-10.0 ms (10.0-50.0%)',
  ]);
});

test('without a GPU there is no line', () => {
  expect(deviceReport([{}, { device: [] }])).toEqual([]);
});
