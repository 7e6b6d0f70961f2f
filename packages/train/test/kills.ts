/**
 * Runs of two processes that are killed again and again, at moments that a seed chooses, until they have ended.
 *
 *     npx tsx packages/train/test/kills.ts 100        kills that often, and says how it went
 *
 * A run saves after every step, so most moments are inside a save. It is killed while it starts, restores, computes,
 * copies, writes or renames: one rank (the launcher starts both again) or everything, the launcher too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { keyOf, uniforms } from '@fourfold/runtime/random';

const script = fileURLToPath(new URL('../src/train.ts', import.meta.url));
const STEPS = 24;

export interface Outcome {
  readonly kills: number;
  readonly runs: number;
  /** Starts that found a checkpoint to go on from. */
  readonly resumed: number;
  /** Damaged checkpoints that were passed over: a kill alone must not make one. */
  readonly damaged: number;
  /** Runs that ended with other bits than the undisturbed one. */
  readonly different: number;
}

/** Kills so many times. Every run is started again until it ends, and its last checkpoint compared. */
export async function killed(count: number, seed: number, say: (line: string) => void = () => {}): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-kills-'));
  const text = join(folder, 'text.txt');
  writeFileSync(text, 'It was the best of times, it was the worst of times.\n'.repeat(100));
  const draws = uniforms(keyOf(seed, 'kills'), 0, 5 * count + 100);
  let drawn = 0;
  const random = (): number => draws[drawn++ % draws.length] as number;
  const outcome = { kills: 0, runs: 0, resumed: 0, damaged: 0, different: 0 };
  const end = async (name: string, kills: boolean): Promise<string> => {
    const checkpoints = join(folder, name);
    for (let code: number | null = null; code !== 0; ) {
      const run = start(text, checkpoints);
      code = await disturbed(run, () => kills && outcome.kills < count && ++outcome.kills > 0, random, outcome);
      if (code === 1 || code === 2) throw new Error(`the run ended with ${code}`);
    }
    return fingerprint(checkpoints);
  };
  const expected = await end('undisturbed', false);
  while (outcome.kills < count) {
    if ((await end(`run-${outcome.runs}`, true)) !== expected) outcome.different++;
    outcome.runs++;
    say(JSON.stringify(outcome));
  }
  rmSync(folder, { recursive: true });
  return outcome;
}

function start(text: string, checkpoints: string): ChildProcess {
  const settings = {
    ...{ model: 'nano', layers: 1, dim: 32, heads: 2, ffn: 64, data: text, seqLength: 16, microBatchSize: 2 },
    ...{ dp: 2, zero: true, launcher: 'processes', maxRestarts: 2, device: 'cpu', threads: 1, steps: STEPS },
    ...{ saveEvery: 1, keep: 2, sampleTokens: 0, evalSequences: 2, checkpoints },
  };
  const flags = Object.entries(settings).flatMap(([key, value]) => [`--${key}`, String(value)]);
  return spawn(process.execPath, ['--import', 'tsx', script, ...flags]);
}

/** Watches a run's output, kills while `mayKill`, and returns its exit code, null where a signal ended it. */
function disturbed(
  run: ChildProcess,
  mayKill: () => boolean,
  random: () => number,
  outcome: { resumed: number; damaged: number },
): Promise<number | null> {
  /** Lines of output until the next kill: some are printed before the first step. */
  let left = Math.floor(random() * 20);
  const kill = () => {
    const ranks = childrenOf(run.pid as number);
    if (!ranks || !mayKill()) return;
    const all = ranks.length === 0 || random() < 0.4;
    const doomed = all ? [run.pid as number, ...ranks] : [ranks[Math.floor(random() * ranks.length)] as number];
    for (const pid of doomed) killIfThere(pid);
  };
  const listen = (piece: string) => {
    outcome.resumed += piece.match(/^.*resumed /gm)?.length ?? 0;
    outcome.damaged += piece.match(/is passed over/g)?.length ?? 0;
    for (const _ of piece.matchAll(/\n/g)) {
      if (left-- > 0) continue;
      setTimeout(kill, 120 * random());
      left = 2 + Math.floor(random() * 16);
    }
  };
  run.stdout?.setEncoding('utf8').on('data', listen);
  run.stderr?.resume();
  return new Promise((resolve) => run.once('close', resolve));
}

/** The processes that a process has started, by Linux's list of them; undefined where it has ended. */
function childrenOf(pid: number): number[] | undefined {
  try {
    const list = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
    return list.trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return undefined;
  }
}

/** A rank may end by itself between the look at the list and here. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** The hashes of the last checkpoint's files. */
function fingerprint(checkpoints: string): string {
  const names = readdirSync(checkpoints).filter((name) => /^step-\d+$/.test(name));
  const newest = names.sort().at(-1) as string;
  const { step, files } = JSON.parse(readFileSync(join(checkpoints, newest, 'checkpoint.json'), 'utf8'));
  return JSON.stringify({ step, files });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [count = '10', seed = '1'] = process.argv.slice(2);
  console.log(JSON.stringify(await killed(Number(count), Number(seed), console.log)));
}
