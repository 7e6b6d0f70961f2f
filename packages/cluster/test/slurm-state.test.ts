import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import {
  createStatus,
  isOver,
  readStatus,
  removeStatus,
  STATES,
  STATUS_FILE,
  statusOf,
  writeStatus,
} from '../src/slurm/state.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-state-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => removeStatus(folder));

test('what is written is read, and nothing else is left in the folder', () => {
  const status = statusOf('oom', '12_3', 'out of memory');
  expect(status.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  writeStatus(folder, status);
  expect(readStatus(folder)).toEqual(status);
  expect(readdirSync(folder)).toEqual([STATUS_FILE]);
});

test('a job that has begun before sbatch answered is not pending again', () => {
  expect(createStatus(folder, statusOf('pending', '12'))).toBe(true);
  expect(readStatus(folder).state).toBe('pending');
  writeStatus(folder, statusOf('running', '12'));
  expect(createStatus(folder, statusOf('pending', '12'))).toBe(false);
  expect(readStatus(folder).state).toBe('running');
  expect(readdirSync(folder)).toEqual([STATUS_FILE]);
});

test('a folder without a file, or with one that makes no sense, is at the beginning', () => {
  expect(readStatus(folder)).toMatchObject({ state: 'init', job: '' });
  for (const text of ['', '{"state":"run', 'null', '{"state":"done","job":"1","detail":"","time":""}']) {
    writeFileSync(join(folder, STATUS_FILE), text);
    expect(readStatus(folder).state).toBe('init');
  }
  // A job's number goes onto command lines, so it is nothing but one.
  writeFileSync(join(folder, STATUS_FILE), JSON.stringify({ ...statusOf('running', '1 --all') }));
  expect(readStatus(folder).state).toBe('init');
});

test('four states are ends', () => {
  expect(STATES.filter((state) => isOver(statusOf(state, '1')))).toEqual(['fail', 'oom', 'timeout', 'completed']);
});
