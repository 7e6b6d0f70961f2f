import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openMetrics } from '../src/log.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fourfold-metrics-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test('each record is a line of JSON, in the file as soon as it is written', () => {
  const path = join(folder, 'out.jsonl');
  const log = openMetrics(path);
  log.write({ step: 1, loss: 3.5, mfu: undefined });
  expect(readFileSync(path, 'utf8')).toBe('{"step":1,"loss":3.5}\n');
  log.write({ step: 2, loss: Number.NaN });
  expect(readFileSync(path, 'utf8')).toBe('{"step":1,"loss":3.5}\n{"step":2,"loss":null}\n');
  log.close();
});

test('a new run drops the old figures, a resumed one goes on after them', () => {
  const path = join(folder, 'again.jsonl');
  const write = (step: number, done: number): void => {
    const log = openMetrics(path, { done });
    log.write({ step });
    log.close();
  };
  write(1, 0);
  write(2, 1);
  expect(readFileSync(path, 'utf8')).toBe('{"step":1}\n{"step":2}\n');
  write(3, 0);
  expect(readFileSync(path, 'utf8')).toBe('{"step":3}\n');
});

test('lines of steps that a resumed run takes again are dropped, and one that a kill cut off', () => {
  const path = join(folder, 'killed.jsonl');
  writeFileSync(path, '{"step":1}\n{"step":2}\n{"step":2,"validationLoss":4}\n{"step":3}\n{"step":2,"lo');
  openMetrics(path, { done: 2 }).close();
  expect(readFileSync(path, 'utf8')).toBe('{"step":1}\n{"step":2}\n{"step":2,"validationLoss":4}\n');
  openMetrics(join(folder, 'new.jsonl'), { done: 2 }).close();
  expect(readFileSync(join(folder, 'new.jsonl'), 'utf8')).toBe('');
});

test.each(['missing/out.jsonl', '.'])('a path that can not be written is refused before training: %s', (name) => {
  const path = join(folder, name);
  const open = () => openMetrics(path);
  expect(open).toThrow(UserError);
  expect(open).toThrow(
    /^--metrics .+ can't be written \((ENOENT|EISDIR): .+\): name a file in a folder that is there$/,
  );
});
