/**
 * A script as several ranks, a process each, started by the project's launcher; and what rank 0 found.
 *
 *     const found = await launched<Found>(2, script, task)
 *
 * Each rank runs `script TASK FILE`: the task as JSON, and the file into which rank 0 writes what it found, as JSON.
 * Between this process and the ranks stands one that runs the launcher. The channel that Node opens between a process
 * and its child tells it when this one is gone, by whatever signal, and then it goes too; the ranks, which are the
 * launcher's children, watch it in the same way.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { main as launchMain } from '@fourfold/process-group/launch';
import { UserError } from '@fourfold/runtime';

/** Seconds that ranks wait for each other: for the slowest to load TensorFlow and to compile its kernels. */
const PATIENCE = 300;

/** Runs `script` as so many ranks. Throws with what they said where one fails: UserError where it was the user's. */
export async function launched<Found>(ranks: number, script: string, task: unknown): Promise<Found> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-ranks-'));
  const file = join(folder, 'found.json');
  try {
    await launcher(['--timeout', `${PATIENCE}`, '--nproc', `${ranks}`, script, JSON.stringify(task), file]);
    return JSON.parse(readFileSync(file, 'utf8')) as Found;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Starts the launcher with its flags, in a process of its own. What the ranks print to stdout goes there. */
function launcher(flags: readonly string[]): Promise<void> {
  // NVLink's multicast needs rights that a process doesn't have everywhere; who has set the variable decides.
  const env = { NCCL_NVLS_ENABLE: '0', ...process.env };
  const command = ['--import', 'tsx', fileURLToPath(import.meta.url), ...flags];
  const child = spawn(process.execPath, command, { env, stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  const errors: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const said = errors.join('').trim();
      if (code === 0) resolve();
      else reject(code === 2 ? new UserError(lastWords(said)) : new Error(said.slice(-4000)));
    });
  });
}

/** The sentence of the rank that failed, out of 'rank 1 exited with code 2; its last words:' and what follows. */
function lastWords(said: string): string {
  const [, words = said] = /its last words:\n([\s\S]*)$/.exec(said) ?? [];
  return words.replaceAll(/^ {4}/gm, '');
}

/** The process in between. */
async function launch(argv: readonly string[]): Promise<void> {
  process.once('disconnect', () => process.exit(1));
  process.channel?.unref(); // no reason to stay when the ranks have ended
  await launchMain(argv);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await launch(process.argv.slice(2));
