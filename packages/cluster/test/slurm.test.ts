/** The commands without Slurm: sbatch, squeue and sacct are scripts that answer what Slurm was seen to answer. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HelpWanted } from '@fourfold/cli';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { slurm } from '../src/index.ts';
import { readStatus, statusOf, writeStatus } from '../src/slurm/state.ts';
import { printed } from './cluster-command.ts';
import { type FakeSlurm, fakeSlurm } from './fake-slurm.ts';

let root = '';
let fake: FakeSlurm;
let out: string[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fourfold-slurm-'));
  fake = fakeSlurm(join(root, 'bin'));
  out = ['--out', join(root, 'runs')];
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

function configure(name: string, values: object = {}): string {
  const path = join(root, `${name}.json`);
  writeFileSync(path, JSON.stringify({ model: 'nano', ...values }));
  return path;
}
const run = (name: string): string => join(root, 'runs', name);
const command = (...argv: string[]): Promise<string> => printed(() => slurm(argv));

test('submit makes a folder for each configuration, submits it, and says its job', async () => {
  vi.stubEnv('SLURM_ARRAY_JOB_ID', '7'); // called from within another job
  expect(await command('submit', configure('a'), ...out, '--hold', '--dependency', 'afterok:7')).toBe('a: job 41');
  expect(fake.calls()).toEqual(['sbatch --parsable --hold --dependency=afterok:7 job.sh']);
  expect(readdirSync(run('a')).sort()).toEqual(['config.json', 'job.sh', 'slurm.json', 'status.json']);
  expect(readStatus(run('a'))).toMatchObject({ state: 'pending', job: '41' });
  await expect(command('submit', configure('a'), ...out)).rejects.toThrow(
    `${run('a')} has a run already, pending as job 41: use slurm resubmit, or another --out`,
  );
});

test('input files are found from the run too; a folder with a config.json is a run in place', async () => {
  const text = join(root, 'text.txt');
  writeFileSync(text, 'x'.repeat(99));
  await command('submit', configure('a', { data: text, $schema: 'x' }), ...out);
  expect(JSON.parse(readFileSync(join(run('a'), 'config.json'), 'utf8'))).toEqual({ model: 'nano', data: text });
  mkdirSync(join(root, 'mine', 'b'), { recursive: true });
  writeFileSync(join(root, 'mine', 'b', 'config.json'), '{"model":"nano"}');
  expect(await command('submit', join(root, 'mine'))).toBe('b: job 41');
  expect(readFileSync(join(root, 'mine', 'b', 'config.json'), 'utf8')).toBe('{"model":"nano"}');
});

test('a dry run prints the script and the command, and touches nothing', async () => {
  const said = await command('submit', configure('a'), configure('b'), ...out, '--array', '2', '--dryRun');
  expect(said).toContain('#SBATCH --array=0-1%2');
  expect(said).toContain(`cd '${run('a')}' || exit 1`);
  expect(said).toMatch(/^sbatch --parsable array\.sh$/m);
  expect(existsSync(join(root, 'runs'))).toBe(false);
  expect(fake.calls()).toEqual([]);
});

test('mistakes are found before anything is submitted', async () => {
  const good = configure('good');
  await expect(command('submit', good, configure('bad', { heads: 3 }), ...out)).rejects.toThrow(/heads=3/);
  await expect(command('submit', good, join(root, 'none.json'), ...out)).rejects.toThrow(/none\.json is not there/);
  await expect(command('submit', good, good, ...out)).rejects.toThrow(/would both run in/);
  await expect(command('submit', join(root, 'bin'))).rejects.toThrow(/bin has no config\.json in it or below/);
  await expect(command('submit', good, ...out, '--time', '1h')).rejects.toThrow('--time 1h: use minutes');
  await expect(command('sumbit', good)).rejects.toThrow('slurm sumbit is not a command: use slurm submit, status');
  await expect(command()).rejects.toThrow(HelpWanted);
  expect(fake.calls()).toEqual([]);
  expect(existsSync(join(root, 'runs'))).toBe(false);
});

test('without Slurm, and where sbatch refuses, a sentence; the run is as it was', async () => {
  fake.answer('sbatch', { code: 1, stderr: 'sbatch: error: Invalid generic resource (gres) specification\n' });
  await expect(command('submit', configure('a'), ...out)).rejects.toThrow(
    `sbatch refused job.sh of ${run('a')}: Invalid generic resource (gres) specification`,
  );
  expect(readStatus(run('a')).state).toBe('init');
  vi.stubEnv('PATH', '/nowhere');
  await expect(command('submit', configure('a'), ...out)).rejects.toThrow(
    'sbatch is not here: run this where Slurm is',
  );
});

/** Three runs that were submitted as 1, 2 and 3. */
async function three(): Promise<void> {
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    fake.answer('sbatch', { stdout: `${i + 1};main\n` });
    await command('submit', configure(name), ...out, '--mem', '8G');
  }
}

test('status shows what Slurm says, and writes what a job could not', async () => {
  await three();
  writeStatus(run('c'), statusOf('fail', '3', 'exit code 1'));
  fake.answer('squeue', { stdout: '1|PENDING|Priority\n2|FAILED|NonZeroExitCode\n3|FAILED|NonZeroExitCode\n' });
  fake.answer('sacct', { stdout: '1|PENDING\n2|FAILED\n2.0|OUT_OF_MEMORY\n3|FAILED\n' });
  expect(await command('status', join(root, 'runs'))).toBe(
    [
      'run  state    job',
      'a    pending    1  Priority',
      'b    oom        2  out of memory',
      'c    fail       3  exit code 1',
    ].join('\n'),
  );
  expect(readStatus(run('a'))).toMatchObject({ state: 'pending', detail: '' });
  expect(readStatus(run('b'))).toMatchObject({ state: 'oom' });
});

test('without accounting squeue alone has the word; where it does not answer, nothing is changed', async () => {
  await three();
  fake.answer('squeue', { code: 1, stderr: 'slurm_load_jobs error: Invalid job id specified\n' });
  expect(await command('status', run('a'))).toMatch(/^a +fail +1 +Slurm knows job 1 no more$/m);
  fake.answer('squeue', { code: 1, stderr: 'slurm_load_jobs error: Unable to contact slurm controller\n' });
  await expect(command('status', run('b'))).rejects.toThrow(/squeue does not answer: .*Unable to contact/);
  expect(readStatus(run('b')).state).toBe('pending');
});

test('resubmit takes those that ended so, with what they had and what is new', async () => {
  await three();
  writeStatus(run('a'), statusOf('oom', '1'));
  writeStatus(run('b'), statusOf('completed', '2'));
  writeStatus(run('c'), statusOf('timeout', '3'));
  fake.answer('squeue', { stdout: '1|FAILED|NonZeroExitCode\n3|FAILED|NonZeroExitCode\n' });
  fake.answer('sbatch', { stdout: '50\n' });
  const runs = join(root, 'runs');
  expect(await command('resubmit', runs, '--only', 'fail')).toBe('None of 3 runs ended by fail');
  expect(await command('resubmit', runs, '--only', 'oom', '--time', '90', '--mem', '16G')).toBe('a: job 50');
  expect(readStatus(run('a'))).toMatchObject({ state: 'pending', job: '50' });
  const script = readFileSync(join(run('a'), 'job.sh'), 'utf8');
  for (const flag of ['--time=90', '--mem=16G']) expect(script).toContain(`#SBATCH ${flag}\n`);
  expect(await command('resubmit', runs, '--only', 'timeout')).toBe('c: job 50');
  expect(readFileSync(join(run('c'), 'job.sh'), 'utf8')).toContain('#SBATCH --mem=8G\n');
  await expect(command('resubmit', runs, '--only', 'completed')).rejects.toThrow(/fail, oom, timeout/);
  await expect(command('resubmit', runs)).rejects.toThrow(/--only/);
});
