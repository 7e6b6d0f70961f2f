import type { DeviceProfile } from '@fourfold/runtime';
import { expect, test } from 'vitest';
import { profileReport } from '../src/profile-report.ts';

const profile: DeviceProfile = {
  ops: [
    { op: 'FourfoldProduct', calls: 169, milliseconds: 100, flops: 70e12, bytes: 9e9 },
    { op: 'FourfoldSwigluGrad', calls: 24, milliseconds: 10, flops: 0, bytes: 30e9 },
    { op: 'Cast', calls: 3, milliseconds: 4, flops: 0, bytes: 1e9 },
    { op: 'Shape', calls: 2, milliseconds: 0, flops: 0, bytes: 8 },
  ],
  milliseconds: 120,
  idle: 6,
};

test('products are held against the peak of arithmetic, other ops against that of memory', () => {
  expect(profileReport(profile, { device: 'NVIDIA H100 80GB HBM3', precision: 'bfloat16' }).split('\n')).toEqual([
    'op                  calls       ms   share         rate  of peak',
    'FourfoldProduct       169  100.000  83.3 %  700 TFLOP/s     71 %', // of 989.5 TFLOP/s
    'FourfoldSwigluGrad     24   10.000   8.3 %    3.00 TB/s     90 %', // of 3.35 TB/s
    'Cast                    3    4.000   3.3 %     250 GB/s      7 %',
    'Shape                   2    0.000   0.0 %',
    'between ops                  6.000   5.0 %',
    'in all                198  120.000',
  ]);
});

test('a device without published figures has rates and no shares of a peak', () => {
  const [, first] = profileReport(profile, { device: 'NVIDIA Z1', precision: 'float32' }).split('\n');
  expect(first).toMatch(/^FourfoldProduct +169 +100\.000 +83\.3 % +700 TFLOP\/s$/);
});

test('what comes after the rows that are wanted is one line, and nothing is lost', () => {
  const lines = profileReport(profile, { device: '', precision: 'bfloat16', rows: 1 }).split('\n');
  expect(lines.map((line) => line.trimEnd().split(/ {2,}/))).toEqual([
    ['op', 'calls', 'ms', 'share', 'rate', 'of peak'],
    ['FourfoldProduct', '169', '100.000', '83.3 %', '700 TFLOP/s'],
    ['3 other ops', '29', '14.000', '11.7 %'],
    ['between ops', '6.000', '5.0 %'],
    ['in all', '198', '120.000'],
  ]);
});

test('a rate has three digits', () => {
  const rates = [5e9, 99e9, 1.234e12, 9.99e12, 12.3e12].map((flops) => {
    const ops = [{ op: 'MatMul', calls: 1, milliseconds: 1000, flops, bytes: 0 }];
    const lines = profileReport({ ops, milliseconds: 1000, idle: 0 }, { device: '', precision: 'bfloat16' }).split(
      '\n',
    );
    return /% +(.+)$/.exec(lines[1] ?? '')?.[1];
  });
  expect(rates).toEqual(['5.00 GFLOP/s', '99.0 GFLOP/s', '1.23 TFLOP/s', '9.99 TFLOP/s', '12.3 TFLOP/s']);
});
