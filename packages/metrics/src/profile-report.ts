/**
 * The table of a GPU's time in one step, op by op, beside what the device could do:
 *
 *     op                     calls       ms   share         rate  of peak
 *     FourfoldProduct          169  118.204  67.5 %  712 TFLOP/s     72 %
 *     FourfoldAttentionGrad     24   21.530  12.3 %  388 TFLOP/s     39 %
 *     FourfoldSwigluGrad        24    4.711   2.7 %    2.85 TB/s     85 %
 *     between ops                     0.912   0.5 %
 *     in all                   412  175.113
 *
 * An op that multiplies matrices is held against the peak of arithmetic, any other against the bandwidth of memory: its
 * inputs and outputs are the least that it must move. More than 100 % of that means that the cache served some of it.
 */

import type { DeviceOp, DeviceProfile } from '@fourfold/runtime';
import { columns } from './columns.ts';
import { peakBandwidth, peakFlops } from './flops.ts';

/** How a profile is shown. */
export interface ProfileOptions {
  /** As the driver names it; an unknown one has no column of peaks. */
  readonly device: string;
  /** Which of the device's peaks the rates are held against. */
  readonly precision: 'float32' | 'bfloat16';
  /** Rows (default 14); the ops after them are summed up in one. */
  readonly rows?: number;
}

const HEADER = ['op', 'calls', 'ms', 'share', 'rate', 'of peak'];

/** Several lines, without a newline at the end. */
export function profileReport(profile: DeviceProfile, { device, precision, rows = 14 }: ProfileOptions): string {
  const { ops, milliseconds, idle } = profile;
  const peaks = { flops: peakFlops(device, precision), bandwidth: peakBandwidth(device) };
  const share = (part: number): string => `${((100 * part) / milliseconds).toFixed(1)} %`;
  const rest = ops.slice(rows);
  const sum = (of: readonly DeviceOp[], figure: 'calls' | 'milliseconds'): number =>
    of.reduce((total, op) => total + op[figure], 0);
  const line = (name: string, calls: number | undefined, time: number, ...more: string[]): string[] => [
    name,
    calls === undefined ? '' : String(calls),
    time.toFixed(3),
    ...more,
  ];
  return columns([
    HEADER,
    ...ops
      .slice(0, rows)
      .map((op) => line(op.op, op.calls, op.milliseconds, share(op.milliseconds), ...rate(op, peaks))),
    ...(rest.length > 0
      ? [
          line(
            `${rest.length} other ops`,
            sum(rest, 'calls'),
            sum(rest, 'milliseconds'),
            share(sum(rest, 'milliseconds')),
          ),
        ]
      : []),
    line('between ops', undefined, idle, share(idle)),
    line('in all', sum(ops, 'calls'), milliseconds),
  ]).join('\n');
}

interface Peaks {
  /** FLOP/s. */
  readonly flops: number | undefined;
  /** Bytes a second. */
  readonly bandwidth: number | undefined;
}

/** What an op did in a second, and its share of what the device could. */
function rate({ flops, bytes, milliseconds }: DeviceOp, peaks: Peaks): [string, string] {
  if (milliseconds === 0) return ['', ''];
  const [done, peak, unit] = flops > 0 ? [flops, peaks.flops, 'FLOP/s'] : [bytes, peaks.bandwidth, 'B/s'];
  const second = (1000 * done) / milliseconds;
  return [`${threeDigits(second)}${unit}`, peak === undefined ? '' : `${Math.round((100 * second) / peak)} %`];
}

/** Three digits and the letter of the thousands: '5.00 G', '712 T'. */
function threeDigits(number: number): string {
  const [size, letter] = number < 0.9995e12 ? [1e9, 'G'] : [1e12, 'T'];
  const value = number / size;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${letter}`;
}
