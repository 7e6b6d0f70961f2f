import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { jobOptions } from '../src/slurm/options.ts';
import type { Job } from '../src/slurm/script.ts';
import { readStatus, statusOf, writeStatus } from '../src/slurm/state.ts';
import { submitAll } from '../src/slurm/submit.ts';
import { printed } from './cluster-command.ts';
import { type FakeSlurm, fakeSlurm } from './fake-slurm.ts';

let root = '';
let fake: FakeSlurm;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fourfold-submit-'));
  fake = fakeSlurm(join(root, 'bin'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function job(name: string, ranks = 1): Job {
  const folder = join(root, 'runs', name);
  mkdirSync(folder, { recursive: true });
  const resources = { nodes: 1, ranks, ranksPerNode: ranks, gpusPerNode: 0 };
  return { folder, name, options: jobOptions.parse({}), resources, checkpoints: 'checkpoints' };
}

test('runs that need the same become an array, others a job of their own', async () => {
  const jobs = [job('a'), job('b', 4), job('c')];
  expect(await printed(() => submitAll(jobs, {}, { array: 2, dryRun: false }))).toBe(
    ['a: job 41_0', 'c: job 41_1', 'b: job 41'].join('\n'),
  );
  const [script = ''] = readdirSync(join(root, 'runs')).filter((name) => name.endsWith('.sh'));
  expect(fake.calls()).toEqual([`sbatch --parsable ${script}`, 'sbatch --parsable job.sh']);
  expect(readFileSync(join(root, 'runs', script), 'utf8')).toContain(
    `  '${jobs[0]?.folder}'\n  '${jobs[2]?.folder}'\n`,
  );
  expect(readStatus(jobs[2]?.folder ?? '')).toMatchObject({ state: 'pending', job: '41_1' });
});

test('where sbatch refuses an array, all its runs are as they were', async () => {
  const jobs = [job('a'), job('b')] as const;
  writeStatus(jobs[1].folder, statusOf('oom', '7'));
  fake.answer('sbatch', { code: 1, stderr: 'sbatch: error: Batch job submission failed: Invalid qos specification\n' });
  await expect(submitAll(jobs, {}, { array: 2, dryRun: false })).rejects.toThrow(/Invalid qos specification$/);
  expect(jobs.map(({ folder }) => readStatus(folder).state)).toEqual(['init', 'oom']);
});
