import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { jobOptions } from '../src/slurm/options.ts';
import { makeRun, planRuns, readOptions, runFolders, runName } from '../src/slurm/runs.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-runs-'));
afterAll(() => rmSync(root, { recursive: true }));

function config(...path: string[]): string {
  mkdirSync(join(root, ...path.slice(0, -1)), { recursive: true });
  writeFileSync(join(root, ...path), '{"model":"nano","dp":2}');
  return join(root, ...path);
}

test('runs are found at any depth, in order, and go by their path', () => {
  for (const name of ['b', 'a', 'deep/er']) config('found', ...name.split('/'), 'config.json');
  config('found', 'c', 'other.json');
  const found = join(root, 'found');
  expect(runFolders(found).map((folder) => runName(found, folder))).toEqual(['a', 'b', 'deep/er']);
  expect(runName(join(found, 'a'), join(found, 'a'))).toBe('a');
  expect(() => runFolders(join(root, 'nowhere'))).toThrow(/nowhere is not there: name a folder of runs$/);
});

test('what the last job asked for is kept, but not what was of that submission alone', async () => {
  const [plan] = await planRuns([config('one.json')], join(root, 'out'));
  if (!plan) throw new Error('no plan');
  const options = jobOptions.parse({ time: '5', mem: '8G', hold: true, dependency: 'afterok:1' });
  expect(makeRun(plan, options, true).resources.ranks).toBe(2);
  expect(readOptions(plan.folder)).toEqual(jobOptions.parse({ time: '5', mem: '8G' }));
  expect(readFileSync(join(plan.folder, 'job.sh'), 'utf8')).toContain('#SBATCH --time=5\n');
  rmSync(join(plan.folder, 'slurm.json'));
  expect(() => readOptions(plan.folder)).toThrow(/slurm\.json can't be read \(ENOENT.*\): submit the run again/);
});
