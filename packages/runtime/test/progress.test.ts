import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { duration, progressBar } from '../src/progress.ts';

beforeEach(() => vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => vi.useRealTimers());

/** A screen that keeps what is written. */
function screenOf(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) };
}

test('a pipe gets a plain line every five seconds, none before, and the time left', () => {
  const screen = screenOf(false);
  const bar = progressBar({ label: 'Download', total: 200e6, unit: 'bytes', screen });
  for (let second = 0; second <= 12; second++) {
    bar.update(second * 10e6);
    vi.advanceTimersByTime(1000);
  }
  bar.done();
  expect(screen.written).toEqual([
    'Download  25%  50 of 200 MB, 15 s left\n',
    'Download  50%  100 of 200 MB, 10 s left\n',
  ]);
});

test('a terminal gets one line, redrawn in place and taken away at the end', () => {
  const screen = screenOf(true);
  const bar = progressBar({ label: 'Train', total: 4, unit: 'steps', screen });
  bar.update(0);
  vi.advanceTimersByTime(50);
  bar.update(1); // too soon after the last
  vi.advanceTimersByTime(1950);
  bar.update(2);
  bar.done();
  bar.update(3);
  const erase = '\x1b[K';
  expect(screen.written).toEqual([
    `\rTrain  ${'░'.repeat(24)}    0%  0 of 4 steps${erase}`,
    `\rTrain  ${'█'.repeat(12)}${'░'.repeat(12)}   50%  2 of 4 steps, 2.0 s left${erase}`,
    `\r${erase}`,
  ]);
});

test('a line printed above the bar leaves the bar where it was', () => {
  const screen = screenOf(true);
  const bar = progressBar({ label: 'Train', total: 4, unit: 'steps', screen });
  bar.update(4);
  const drawn = (screen.written[0] ?? '').slice(1, -3);
  screen.written.length = 0;
  bar.print('step 4: loss 1.2');
  expect(screen.written).toEqual(['\r\x1b[K', `step 4: loss 1.2\n${drawn}`]);
});

test('a narrow terminal gets a line that does not wrap', () => {
  const screen = screenOf(true, 30);
  progressBar({ label: 'Train', total: 4, unit: 'steps', screen }).update(1);
  expect(screen.written[0]?.replace('\r', '').replace('\x1b[K', '')).toHaveLength(29);
});

test('durations read well at every size', () => {
  expect([40, 9_940, 9_960, 59_400, 59_600, 200_000, 3_599_700, 3_900_000].map(duration)).toEqual([
    ...['0.0 s', '9.9 s', '10 s', '59 s', '1 min 0 s', '3 min 20 s', '1 h 0 min', '1 h 5 min'],
  ]);
});
