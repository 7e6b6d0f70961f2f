/** Jobs that Slurm really runs, on two nodes of one machine (slurm-cluster.ts), and every way in which they end. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { slurm } from '../src/index.ts';
import { isOver, readStatus, type Status } from '../src/slurm/state.ts';
import { printed } from './cluster-command.ts';
import { type SlurmCluster, startSlurm, whyNoSlurm } from './slurm-cluster.ts';

const why = whyNoSlurm();
if (why) console.warn(`skipped, jobs on a real Slurm: ${why}`);

/** Two ranks, one on each node. The nodes' names mean nothing to this machine's resolver. */
const two = ['--ranksPerNode', '1', '--setup', 'export MASTER_ADDR=127.0.0.1'];
const small = { model: 'nano', layers: 1, seqLength: 32, microBatchSize: 2, warmupSteps: 1, dp: 2, device: 'cpu' };
const quiet = { evalEvery: 0, evalSequences: 2, sampleTokens: 0 };

describe.skipIf(why)('on a real Slurm', { timeout: 180_000 }, () => {
  let cluster: SlurmCluster | undefined;
  let folder = '';
  let jobs = 0;

  beforeAll(async () => {
    cluster = await startSlurm();
    folder = mkdtempSync(join(tmpdir(), 'fourfold-runs-'));
    vi.stubEnv('SLURM_CONF', cluster.config);
  });
  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
    vi.unstubAllEnvs();
  });

  /** Writes a configuration and submits it; returns its folder. */
  async function submit(name: string, config: object, flags: readonly string[] = ['--mem', '1500']): Promise<string> {
    const path = join(folder, `${name}.json`);
    writeFileSync(path, JSON.stringify({ ...small, ...quiet, ...config }));
    const out = join(folder, `out ${++jobs}`);
    await printed(() => slurm(['submit', path, '--out', out, ...two, ...flags]));
    return join(out, name);
  }
  async function stateOf(run: string, wanted = isOver): Promise<Status> {
    for (let tries = 0; tries < 300; tries++) {
      const status = readStatus(run);
      if (wanted(status)) return status;
      await sleep(500);
    }
    throw new Error(`${run} is ${JSON.stringify(readStatus(run))}\n${logOf(run)}`);
  }
  const logOf = (run: string): string =>
    readdirSync(run)
      .filter((name) => name.startsWith('log'))
      .map((name) => readFileSync(join(run, name), 'utf8'))
      .join('\n');
  const figuresOf = (run: string) => readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n').length;

  test('two ranks on two nodes train to the end, in a folder with a hostile name', async () => {
    const run = await submit(`it's $(touch x) "q" \n*`, { steps: 4 });
    expect(await stateOf(run)).toMatchObject({ state: 'completed', detail: '' });
    expect(logOf(run)).toContain('2 ranks, dp2 x pp1 x cp1 x tp1, a process each');
    expect(figuresOf(run)).toBe(5); // 4 steps and a validation
    const files = readdirSync(run).map((name) => name.replace(/\d+/, 'N'));
    const written = ['job.sh', 'log-N.txt', 'metrics.jsonl', 'slurm.json', 'status.json'];
    expect(files.sort()).toEqual(['checkpoints', 'config.json', ...written]);
    await expect(slurm(['submit', join(run, 'config.json'), ...two])).rejects.toThrow(/has a run already, completed/);
  });

  test('a run that fails says with which exit code, and runs again when resubmitted', async () => {
    const run = await submit('diverges', { steps: 8, learningRate: 1e30 });
    const failed = await stateOf(run);
    expect(failed).toMatchObject({ state: 'fail', detail: 'exit code 2' });
    expect(await printed(() => slurm(['resubmit', run, '--only', 'oom,timeout']))).toBe(
      'None of 1 runs ended by oom or timeout',
    );
    writeFileSync(join(run, 'config.json'), JSON.stringify({ ...small, ...quiet, steps: 3 }));
    await printed(() => slurm(['resubmit', run, '--only', 'fail']));
    const again = await stateOf(run);
    expect(again).toMatchObject({ state: 'completed' });
    expect(again.job).not.toBe(failed.job);
  });

  test('a run that the kernel kills for its memory is oom, and has more when resubmitted with more', async () => {
    const run = await submit('large', { steps: 3 }, ['--mem', '60']);
    expect(await stateOf(run)).toMatchObject({ state: 'oom', detail: 'out of memory' });
    expect(await printed(() => slurm(['status', run]))).toMatch(/large +oom +\d+ +out of memory/);
    await printed(() => slurm(['resubmit', run, '--only', 'oom', '--mem', '1500']));
    expect(await stateOf(run)).toMatchObject({ state: 'completed' });
  });

  test('a run that is cancelled ends in order, and says so; submitted again, it goes on from there', async () => {
    const run = await submit('long', { steps: 100_000 });
    const { job } = await stateOf(run, ({ state }) => state === 'running');
    while (!logOf(run).includes('step ')) await sleep(200);
    execFileSync('scancel', [job]);
    expect(await stateOf(run)).toMatchObject({ state: 'fail', detail: 'cancelled' });
    expect(logOf(run)).toMatch(/\d+ steps in .*; see metrics\.jsonl/); // it had time to say what it did
    const [saved = ''] = readdirSync(join(run, 'checkpoints'));
    const steps = Number(saved.slice('step-'.length)) + 2;
    writeFileSync(join(run, 'config.json'), JSON.stringify({ ...small, ...quiet, steps }));
    await printed(() => slurm(['resubmit', run, '--only', 'fail']));
    expect(await stateOf(run)).toMatchObject({ state: 'completed' });
    expect(logOf(run)).toContain(`resumed checkpoints/${saved}`);
  });

  test('a job that is killed before it can say anything is put right by status', async () => {
    const path = join(folder, 'killed.json');
    writeFileSync(path, JSON.stringify({ ...small, ...quiet }));
    const out = join(folder, 'killed');
    await printed(() => slurm(['submit', path, '--out', out, '--mem', '1500', '--setup', 'kill -KILL $$']));
    const run = join(out, 'killed');
    const { job } = await stateOf(run, ({ state }) => state === 'running');
    while (execFileSync('squeue', ['-h', '-j', job], { encoding: 'utf8' })) await sleep(200);
    expect(readStatus(run).state).toBe('running');
    expect(await printed(() => slurm(['status', run]))).toMatch(/killed +fail +\d+/);
    expect(readStatus(run)).toMatchObject({ state: 'fail', job });
  });

  test('the ranks are asked to stop before the time limit, and the run is a timeout', async () => {
    const run = await submit('slow', { steps: 100_000 }, ['--mem', '1500', '--time', '1', '--notice', '5']);
    expect(await stateOf(run)).toMatchObject({ state: 'timeout', detail: 'the time limit' });
    expect(logOf(run)).toMatch(/\d+ steps in .*; see metrics\.jsonl/);
  });

  test('runs that need the same are tasks of one array, held, and seen as pending until released', async () => {
    const paths = ['a', 'b'].map((name) => join(folder, `${name}.json`));
    for (const path of paths) writeFileSync(path, JSON.stringify({ ...small, ...quiet, steps: 2 }));
    const out = join(folder, 'array');
    const said = await printed(() =>
      slurm(['submit', ...paths, '--out', out, '--mem', '1500', ...two, '--array', '1', '--hold']),
    );
    const [, job = ''] = /^a: job (\d+)_0\nb: job \1_1$/.exec(said) ?? [];
    expect(await printed(() => slurm(['status', out]))).toMatch(/^a +pending +\d+_0 +JobHeldUser$/m);
    execFileSync('scontrol', ['release', job]);
    for (const name of ['a', 'b']) expect(await stateOf(join(out, name))).toMatchObject({ state: 'completed' });
    expect(figuresOf(join(out, 'b'))).toBe(3);
  });

  test('each rank sees one GPU of its own', async () => {
    const gpus = ['--ranksPerNode', '2', '--setup', 'export MASTER_ADDR=127.0.0.1'];
    const path = join(folder, 'gpus.json');
    // The GPUs are none, so in the rank's place another program says what it sees.
    writeFileSync(path, JSON.stringify({ ...small, ...quiet, steps: 1, device: 'auto' }));
    const out = join(folder, 'gpus');
    await printed(() => slurm(['submit', path, '--out', out, '--mem', '1500', ...gpus, '--hold']));
    const run = join(out, 'gpus');
    const script = readFileSync(join(run, 'job.sh'), 'utf8');
    expect(script).toContain('#SBATCH --gpus-per-node=2');
    writeFileSync(
      join(run, 'job.sh'),
      script.replace(/'[^']*node' '--import'.* &$/m, 'printenv CUDA_VISIBLE_DEVICES &'),
    );
    execFileSync('scancel', [readStatus(run).job]);
    execFileSync('sbatch', ['job.sh'], { cwd: run });
    expect(await stateOf(run, ({ state }) => state === 'completed')).toMatchObject({ state: 'completed' });
    expect(logOf(run).trim().split('\n').sort()).toEqual(['0', '1']);
  });

  test('what sbatch refuses is one sentence, and leaves the run as it was', async () => {
    await expect(submit('refused', {}, ['--partition', 'nowhere'])).rejects.toThrow(
      /^sbatch refused job\.sh of .*\/refused: invalid partition specified: nowhere; Batch job submission failed/,
    );
  });
});
