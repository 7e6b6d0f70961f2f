/**
 * Slurm's commands: sbatch to submit, and what squeue and sacct say of jobs.
 *
 *     squeue -h -r -t all -o '%i|%T|%r' -j 12      12|RUNNING|None            while it waits or runs, minutes after too
 *     sacct -n -P -o JobID,State -j 12             12|FAILED                  later, where the cluster keeps accounts
 *                                                  12.batch|FAILED
 *                                                  12.0|OUT_OF_MEMORY         the step that the kernel killed
 *
 * Of a run that was killed for its memory, the job's own state may be FAILED, so its steps count too.
 */
import { execFile } from 'node:child_process';
import { RunError, UserError } from '@fourfold/runtime/errors';
import { isOver, type State, type Status, statusOf } from './state.ts';

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Without the variables of a job from within which this may be called, which the new job would take for its own. */
const environment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('SLURM_') || name === 'SLURM_CONF'),
  );

/** Runs a command of Slurm's; no shell reads the words. */
function run(command: string, words: readonly string[], cwd?: string): Promise<Said> {
  const options = { encoding: 'utf8', maxBuffer: 2 ** 28, cwd, env: environment() } as const;
  return new Promise((resolve, reject) => {
    execFile(command, words, options, (error, stdout, stderr) => {
      if (error?.code === 'ENOENT') return reject(new UserError(`${command} is not here: run this where Slurm is`));
      const code = error ? (typeof error.code === 'number' ? error.code : 1) : 0;
      return resolve({ code, stdout, stderr: stderr.trim() });
    });
  });
}

/** Gives a script to Slurm, from its folder, and returns the job's number. */
export async function submitScript(folder: string, script: string, flags: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run('sbatch', ['--parsable', ...flags, script], folder);
  const job = /^(\d+)(;\S*)?\s*$/.exec(stdout)?.[1]; // after a semicolon, the cluster's name
  if (code === 0 && job) return job;
  throw new UserError(`sbatch refused ${script} of ${folder}: ${reasonIn(stderr || stdout)}`);
}

/** 'sbatch: error: Invalid --time specification' without what every line of it begins with; lines become one. */
const reasonIn = (text: string): string =>
  text
    .split('\n')
    .map((line) => line.replace(/^(sbatch|squeue): (error: )?/, '').trim())
    .filter(Boolean)
    .join('; ');

/** What Slurm says of a job, in our states; `reason` in Slurm's words: 'CANCELLED', 'Priority'. */
export interface Word {
  readonly state: State;
  readonly reason: string;
}

/** Slurm's word on each of the jobs that it knows. */
export async function askSlurm(jobs: readonly string[]): Promise<ReadonlyMap<string, Word>> {
  if (jobs.length === 0) return new Map();
  const list = jobs.join(',');
  const queue = await run('squeue', ['-h', '-r', '-t', 'all', '-o', '%i|%T|%r', '-j', list]);
  // squeue doesn't know a job that ended some minutes ago, and if it is the only one asked for, that is an error.
  if (queue.code !== 0 && !queue.stderr.includes('Invalid job id'))
    throw new RunError(`squeue does not answer: ${reasonIn(queue.stderr)}`);
  const accounts = await run('sacct', ['-n', '-P', '-o', 'JobID,State', '-j', list]);
  const words = readQueue(queue.stdout);
  // Without accounting sacct fails, and squeue's word has to do.
  for (const [job, word] of accounts.code === 0 ? readAccounts(accounts.stdout) : [])
    if (!words.has(job) || word.state === 'oom') words.set(job, word);
  return words;
}

/** Of squeue's lines `12|RUNNING|None`. */
export function readQueue(text: string): Map<string, Word> {
  const words = new Map<string, Word>();
  for (const line of text.split('\n')) {
    const [job = '', state = '', why = ''] = line.split('|');
    if (job !== '') words.set(job, wordOf(state, state === 'PENDING' ? why : state));
  }
  return words;
}

/** Of sacct's lines `12.0|OUT_OF_MEMORY`: jobs, each after its steps. */
export function readAccounts(text: string): Map<string, Word> {
  const words = new Map<string, Word>();
  for (const line of text.split('\n')) {
    const [id = '', said = ''] = line.split('|');
    const [job = '', step] = id.split('.');
    const state = said.split(' ')[0] ?? ''; // 'CANCELLED by 1000'
    if (job === '') continue;
    const isOom = state === 'OUT_OF_MEMORY' && words.get(job)?.state !== 'completed';
    if (step === undefined || isOom) words.set(job, wordOf(state, state));
  }
  return words;
}

const STATES: Readonly<Record<string, State>> = {
  PENDING: 'pending',
  CONFIGURING: 'pending',
  REQUEUED: 'pending',
  REQUEUE_HOLD: 'pending',
  REQUEUE_FED: 'pending',
  SPECIAL_EXIT: 'pending',
  RESV_DEL_HOLD: 'pending',
  RUNNING: 'running',
  COMPLETING: 'running',
  RESIZING: 'running',
  SIGNALING: 'running',
  STAGE_OUT: 'running',
  STOPPED: 'running',
  SUSPENDED: 'running',
  COMPLETED: 'completed',
  TIMEOUT: 'timeout',
  DEADLINE: 'timeout',
  OUT_OF_MEMORY: 'oom',
};

/** All that is left (FAILED, CANCELLED, NODE_FAIL, BOOT_FAIL, PREEMPTED, LAUNCH_FAILED, REVOKED) is a failure. */
const wordOf = (state: string, reason: string): Word => ({ state: STATES[state] ?? 'fail', reason });

/**
 * What is true of a run whose file says `said`. The job knows more about how it ended than Slurm does, unless Slurm
 * ended it before it could say, or saw that the kernel did.
 */
export function corrected(said: Status, word: Word | undefined): Status {
  if (said.state === 'init' || said.state === 'completed') return said;
  if (!word) return isOver(said) ? said : statusOf('fail', said.job, `Slurm knows job ${said.job} no more`);
  const { state, reason } = word;
  const clearsUp = state === 'running' || state === 'fail' || state === 'completed';
  if (isOver(said) && (state === said.state || clearsUp)) return said; // else Slurm knows better, or runs it again
  if (state === said.state) return { ...said, detail: state === 'pending' ? reason : '' };
  return statusOf(state, said.job, DETAILS[reason] ?? reason);
}

/** Slurm's reasons that the state says already, or that have a plainer word. */
const DETAILS: Readonly<Record<string, string>> = {
  CANCELLED: 'cancelled',
  FAILED: '',
  RUNNING: '',
  COMPLETED: '',
  COMPLETING: '',
  TIMEOUT: 'the time limit',
  OUT_OF_MEMORY: 'out of memory',
  NODE_FAIL: 'its node failed',
};
