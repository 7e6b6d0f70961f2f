import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { openRunLog } from '../src/run-log.ts';
import { formatStep } from '../src/step-line.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-run-log-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A stand-in for stdout that keeps what is written. */
function screenOf(isTTY = false) {
  const written: string[] = [];
  return { isTTY, columns: 100, written, write: (text: string) => written.push(text) };
}

const stepAt = (step: number) => ({
  ...{ step, loss: 5 - step, gradNorm: 1.5, learningRate: 3e-3 },
  ...{ tokensPerSecond: 41_200, milliseconds: 24.8, memoryBytes: 312e6, mfu: undefined },
});
const records = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);

test('the screen gets what is said, a line a step, validations, and how many steps there were', () => {
  const screen = screenOf();
  const log = openRunLog({ title: 'micro on moby-dick', steps: 20, screen });
  log.say('0.82 M parameters');
  log.step(stepAt(1));
  log.say('The whale');
  log.step(stepAt(2));
  log.validation({ step: 2, loss: 2.40196, bitsPerByte: 3.46529 });
  log.close();
  expect(screen.written).toEqual([
    '0.82 M parameters\n',
    `${formatStep({ ...stepAt(1), steps: 20 })}\n`,
    'The whale\n',
    `${formatStep({ ...stepAt(2), steps: 20 })}\n`,
    'validation after step 2: loss 2.4020, 3.465 bits per byte\n',
    expect.stringMatching(/^2 steps in \d+\.\d s\n$/),
  ]);
});

test('the same figures are in the file, a line of JSON each, while the run goes on', () => {
  const metrics = join(folder, 'out.jsonl');
  const screen = screenOf();
  const log = openRunLog({ title: 'test', steps: 2, metrics, screen });
  log.step(stepAt(1));
  const { mfu: _, ...measured } = stepAt(1);
  expect(records(metrics)).toEqual([measured]);
  log.validation({ step: 1, loss: 2.4, bitsPerByte: 3.46 });
  log.step({ ...stepAt(2), mfu: 0.46 });
  log.close();
  expect(records(metrics).slice(1)).toEqual([
    { step: 1, validationLoss: 2.4, bitsPerByte: 3.46 },
    { ...measured, step: 2, loss: 3, mfu: 0.46 },
  ]);
  expect(screen.written.at(-1)).toMatch(/^2 steps in .* s; see .*out\.jsonl\n$/);
});

test('the curve is drawn at the end, of the steps that were made, in the unit that was named', () => {
  const curve = join(folder, 'loss.svg');
  const screen = screenOf();
  const log = openRunLog({ title: 'micro on <moby-dick>', steps: 100, curve, unit: 'nats per byte', screen });
  const empty = readFileSync(curve, 'utf8');
  for (const step of [1, 2, 3]) log.step(stepAt(step));
  log.validation({ step: 3, loss: 2.5, bitsPerByte: 3.6 });
  log.close();
  const svg = readFileSync(curve, 'utf8');
  expect(svg.length).toBeGreaterThan(empty.length);
  expect(svg).toContain('micro on &lt;moby-dick&gt;');
  expect(svg).toContain('loss (nats per byte)');
  expect(screen.written.at(-1)).toMatch(/^3 steps in .* s; see .*loss\.svg\n$/);
});

test('on a terminal the bar comes with the first step and counts what a resumed run has left', () => {
  const screen = screenOf(true);
  const log = openRunLog({ title: 'test', steps: 400, screen });
  log.say('ready');
  expect(screen.written).toEqual(['ready\n']);
  log.step(stepAt(301));
  expect(screen.written.join('')).toMatch(/ 1 of 100 steps/);
  log.close();
  expect(screen.written.at(-2)).toBe('\r\x1b[K'); // the bar is gone before the last line
});

test('a file that can not be written stops the run before it begins', () => {
  const screen = screenOf();
  const inNoFolder = join(folder, 'no', 'such');
  const metrics = join(folder, 'never.jsonl');
  expect(() => openRunLog({ title: 'test', steps: 1, metrics, curve: `${inNoFolder}.svg`, screen })).toThrow(UserError);
  expect(existsSync(metrics)).toBe(false);
  expect(() => openRunLog({ title: 'test', steps: 1, curve: `${inNoFolder}.svg`, screen })).toThrow(
    /^.*such\.svg can't be written \(ENOENT: .*\): name a file in a folder that is there$/,
  );
  expect(() => openRunLog({ title: 'test', steps: 1, metrics: `${inNoFolder}.jsonl`, screen })).toThrow(/^--metrics /);
  expect(existsSync(join(folder, 'no'))).toBe(false);
  expect(screen.written).toEqual([]);
});
