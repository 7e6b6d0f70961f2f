/** Scripts without Slurm: bash runs them, with commands of srun's and scancel's names that do what the test needs. */
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { jobOptions } from '../src/slurm/options.ts';
import { arrayScript, type Job, jobName, jobScript, quote } from '../src/slurm/script.ts';
import { readStatus } from '../src/slurm/state.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-script-'));
afterAll(() => rmSync(root, { recursive: true }));

const resources = { nodes: 2, ranks: 4, ranksPerNode: 2, gpusPerNode: 2 };
const jobOf = (folder: string, options: object = {}): Job => ({
  folder,
  name: 'run 1',
  options: jobOptions.parse(options),
  resources,
  checkpoints: 'checkpoints',
});

/** A folder with a job.sh in it, and a srun that does `work`. */
function prepared(name: string, work: string, options: object = {}): { folder: string; env: NodeJS.ProcessEnv } {
  const folder = join(root, name);
  const bin = join(root, `bin-${readdirSync(root).length}`);
  for (const path of [folder, bin]) mkdirSync(path);
  for (const [command, text] of Object.entries({ srun: work, scancel: 'kill -TERM "$(cat srun.pid)"' })) {
    writeFileSync(join(bin, command), `#!/bin/bash\n${text}\n`);
    chmodSync(join(bin, command), 0o755);
  }
  writeFileSync(join(folder, 'job.sh'), jobScript(jobOf(folder, options)));
  const slurm = { SLURM_JOB_ID: '12', SLURM_CPUS_ON_NODE: '5' };
  return { folder, env: { PATH: `${bin}:${process.env['PATH']}`, ...slurm } };
}

/** Runs job.sh as Slurm does, its output in log-12.txt; sends it a signal once it runs. */
async function ended({ folder, env }: ReturnType<typeof prepared>, signal?: NodeJS.Signals): Promise<number> {
  const command = `exec bash ${quote(join(folder, 'job.sh'))} >${quote(join(folder, 'log-12.txt'))} 2>&1`;
  const child = spawn('bash', ['-c', command], { env, stdio: 'ignore' });
  const code = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)));
  while (signal && !readdirSync(folder).includes('srun.pid')) await new Promise((resolve) => setTimeout(resolve, 20));
  if (signal) child.kill(signal);
  return code;
}

const endings: [string, string, number, object][] = [
  ['completed', 'exit 0', 0, { state: 'completed', detail: '' }],
  ['fail', 'echo "loss is NaN" >&2; exit 2', 2, { state: 'fail', detail: 'exit code 2' }],
  // As Slurm 22.05 printed it where the kernel, and where Slurm itself, killed a rank.
  ['oom', "echo 'slurmstepd: error: Detected 1 oom-kill event(s) in StepId=10.0.'; exit 1", 1, { state: 'oom' }],
  ['oom too', "echo 'slurmstepd: error: Exceeded job memory limit'; exit 137", 137, { state: 'oom' }],
  ['oom said, but fine', "echo 'out of memory'", 0, { state: 'completed' }],
];
for (const [name, work, code, status] of endings)
  test(`a job ends as its ranks do: ${name}`, async () => {
    const job = prepared(name, `[ "$(<status.json)" != "\${status/running}" ] && ${work}`);
    expect(await ended(job)).toBe(code);
    expect(readStatus(job.folder)).toMatchObject({ ...status, job: '12' });
    expect(readdirSync(job.folder).sort()).toEqual(['job.sh', 'log-12.txt', 'status.json']);
  });

/** Ranks that take half a second to end when they are asked to. */
const slow =
  'trap "sleep 0.5; echo in order; exit 143" TERM; echo $$ >pid && mv pid srun.pid; while :; do sleep 0.05; done';

test('near the limit the ranks are asked to stop, and the job waits for them', async () => {
  const job = prepared('slow', slow);
  expect(await ended(job, 'SIGUSR1')).toBe(143);
  expect(readStatus(job.folder)).toMatchObject({ state: 'timeout', detail: 'the time limit' });
  expect(readFileSync(join(job.folder, 'log-12.txt'), 'utf8')).toContain('in order');
});

test('a job that is cancelled waits for its ranks, which Slurm asks to stop itself', async () => {
  const job = prepared('cancelled', `${slow.replace('while', () => '(sleep 0.3; kill -TERM $$) & while')}`);
  expect(await ended(job, 'SIGTERM')).toBe(143);
  expect(readStatus(job.folder)).toMatchObject({ state: 'fail', detail: 'cancelled' });
});

test('each rank has its own GPU, its cores, and the secret that all share', async () => {
  const rank = (id: number): string => `SLURM_LOCALID=${id} "\${@:4:4}" printenv CUDA_VISIBLE_DEVICES`;
  const work = ['export CUDA_VISIBLE_DEVICES=4,GPU-7', rank(0), rank(1), `echo $OMP_NUM_THREADS \${#FOURFOLD_SECRET}`];
  const job = prepared('gpus', work.join('\n'));
  expect(await ended(job)).toBe(0);
  expect(readFileSync(join(job.folder, 'log-12.txt'), 'utf8')).toBe('4\nGPU-7\n2 64\n');
});

test('any text is one word of bash', () => {
  const text = fc.string({ unit: 'binary' }).map((one) => Buffer.from(one.replaceAll('\0', '')).toString());
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (words) => {
      const said = execFileSync('bash', ['-c', `printf '%s\\0' ${words.map(quote).join(' ')}`], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      expect(said.split('\0').slice(0, -1)).toEqual(words);
    }),
    { numRuns: 50 },
  );
});

test('a folder with a hostile name runs what it should', async () => {
  const job = prepared(`it's $(touch hacked) "q" \n#SBATCH --time=1 \\`, 'echo ran');
  expect(await ended(job)).toBe(0);
  expect(readdirSync(root)).not.toContain('hacked');
  expect(readStatus(job.folder).state).toBe('completed');
});

test('what Slurm reads: nodes, ranks, GPUs, and what was asked for', () => {
  const lines = (options: object): string[] =>
    jobScript(jobOf('/runs/a', options))
      .split('\n')
      .filter((line) => line.startsWith('#SBATCH'));
  expect(lines({ time: '1-12', mem: '64G', partition: 'gpu', exclude: 'node[3-5],node9', cpusPerRank: 8 })).toEqual([
    '#SBATCH --job-name=run_1',
    '#SBATCH --output=log-%j.txt',
    '#SBATCH --nodes=2',
    '#SBATCH --ntasks=4',
    '#SBATCH --ntasks-per-node=2',
    '#SBATCH --gpus-per-node=2',
    '#SBATCH --cpus-per-task=8',
    '#SBATCH --time=1-12',
    '#SBATCH --signal=B:USR1@120',
    '#SBATCH --mem=64G',
    '#SBATCH --partition=gpu',
    '#SBATCH --exclude=node[3-5],node9',
  ]);
  expect(jobName(`a b\n#SBATCH 'x'`)).toBe('a_b__SBATCH__x_');
  expect(jobName('')).toBe('run');
});

test("an array's task runs the script of its folder, and its output goes there", () => {
  const folders = ['one', "t'wo"].map((name) => prepared(name, 'echo ran').folder);
  const [a, b] = folders.map((folder) => jobOf(folder)) as [Job, Job];
  const script = arrayScript([a, b], 1);
  expect(script).toContain('#SBATCH --array=0-1%1\n');
  const { env } = prepared('three', 'echo ran');
  const task = { ...env, SLURM_ARRAY_JOB_ID: '20', SLURM_ARRAY_TASK_ID: '1' };
  execFileSync('bash', ['-c', script], { env: task, stdio: 'ignore' });
  expect(readFileSync(join(b.folder, 'log-20_1.txt'), 'utf8')).toBe('ran\n');
  expect(readStatus(b.folder)).toMatchObject({ state: 'completed', job: '20_1' });
});
