import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { gatherRuns } from '../src/metrics/gather.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fourfold-gather-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function put(path: string, value: unknown): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));
}
const line = '{"step":1,"loss":2,"tokensPerSecond":800,"milliseconds":5}\n';
const status = (state: string, detail = '') => ({ state, job: '1', detail, time: '' });

test('runs at any depth: jobs, runs in this process, runs that wait, and files of figures alone', () => {
  put('jobs/a/config.json', { model: 'nano', dp: 2, tp: 4 });
  put('jobs/a/status.json', status('completed'));
  put('jobs/a/metrics.jsonl', line);
  put('local/config.json', { model: 'nano', dp: 2, tp: 4 });
  put('local/metrics.jsonl', line);
  put('processes/config.json', { dp: 4, launcher: 'processes' });
  put('processes/metrics.jsonl', line);
  put('waits/config.json', { dp: 2 });
  put('waits/status.json', status('pending'));
  put('z.jsonl', line);
  put('text.jsonl', '{"text":"Call me Ishmael."}\n');
  const runs = gatherRuns(root, 0).map(({ name, status, devices, tokensPerSecondPerDevice: speed }) => {
    return { name, status, devices, speed };
  });
  expect(runs).toEqual([
    { name: 'jobs/a', status: 'completed', devices: 8, speed: 100 },
    { name: 'local', status: '', devices: 1, speed: 800 }, // eight coroutines share what there is
    { name: 'processes', status: '', devices: 4, speed: 200 },
    { name: 'waits', status: 'pending', devices: 2, speed: undefined },
    { name: 'z', status: '', devices: undefined, speed: undefined },
  ]);
});

test('what is wrong with one run is said of it, and the others are there', () => {
  put('a/config.json', '{"model":');
  put('a/metrics.jsonl', `oops\n${line}`);
  put('b/config.json', { model: 'none' });
  put('b/status.json', status('fail', 'exit code 2'));
  const [a, b] = gatherRuns(root, 0);
  expect(a?.note).toMatch(/^config\.json: .*JSON.*; 1 unreadable line$/);
  expect(a).toMatchObject({ loss: 2, config: undefined, devices: undefined });
  expect(b?.note).toBe('exit code 2; config.json has a wrong value');
});

test('no folder, and a folder without runs, are sentences', () => {
  expect(() => gatherRuns(join(root, 'none'), 0)).toThrow(/none is not there: name a folder of runs$/);
  expect(() => gatherRuns(root, 0)).toThrow(/has no config\.json or \.jsonl in it or below: name another folder$/);
});
