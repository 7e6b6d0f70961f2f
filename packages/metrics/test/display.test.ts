import { expect, test } from 'vitest';
import { openDisplay } from '../src/display.ts';

/** A stand-in for stdout that keeps what is written. */
function screenOf(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, columns: 100, write: (text: string) => written.push(text), written };
}

/** What a terminal would show: each line as its last writing left it, erased ones empty. */
function shown(written: readonly string[]): string[] {
  const lines = written.join('').split('\n');
  return lines.map((line) => (line.split('\r').at(-1) ?? '').replace('\x1b[K', ''));
}

test('in a pipe there are lines and nothing else', () => {
  const screen = screenOf(false);
  const display = openDisplay({ steps: 3, screen });
  display.print('step 1');
  display.update(1);
  display.print('step 2');
  display.update(2);
  display.close();
  expect(screen.written).toEqual(['step 1\n', 'step 2\n']);
});

test('on a terminal the lines stand above a bar with the time left, which close takes away', () => {
  const screen = screenOf(true);
  const display = openDisplay({ steps: 4, screen });
  display.update(1);
  display.print('step 1');
  expect(shown(screen.written)).toEqual([
    'step 1',
    expect.stringMatching(/^Training {2}█{6}░{18} +25% .*1 of 4 steps.* left$/),
  ]);
  display.close();
  display.print('done');
  expect(shown(screen.written)).toEqual(['step 1', 'done', '']);
});

test('a resumed run counts its own steps only', () => {
  const screen = screenOf(true);
  const display = openDisplay({ steps: 400, done: 300, screen });
  display.update(350);
  expect(shown(screen.written).at(-1)).toMatch(/ 50% .*50 of 100 steps/);
  display.close();
});
