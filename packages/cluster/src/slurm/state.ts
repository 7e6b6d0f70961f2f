/**
 * The state of a run, kept in one small file of its folder that the job itself writes.
 *
 *     init -> pending -> running -> completed | fail | oom | timeout
 *      ^         |          |                    |
 *      |         +----------+--- fail (cancelled, lost)
 *      +-------- resubmit: back to pending ------+
 *
 *     {"state":"oom","job":"12","detail":"out of memory","time":"2026-11-28T06:23:41Z"}
 *
 * Whoever reads it sees a whole file: it is written beside and renamed. Two may write at once, the one who submits
 * (pending) and the job, which may run before sbatch has answered. So `pending` is only written where there is no file
 * yet, in one system call (link) that fails if there is one.
 */
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

export const STATES = ['init', 'pending', 'running', 'fail', 'oom', 'timeout', 'completed'] as const;
export type State = (typeof STATES)[number];

const statusSchema = z.object({
  state: z.enum(STATES),
  /** Slurm's number of the job, '12' or of an array's task '12_3'. */
  job: z.string().regex(/^(\d+(_\d+)?)?$/),
  /** In words, how it came to that. */
  detail: z.string(),
  time: z.string(),
});
export type Status = Readonly<z.infer<typeof statusSchema>>;

export const STATUS_FILE = 'status.json';
const before: Status = { state: 'init', job: '', detail: '', time: '' };

/** No more will happen in this state by itself. */
export const isOver = ({ state }: Status): boolean => !['init', 'pending', 'running'].includes(state);

export const statusOf = (state: State, job: string, detail = ''): Status => ({
  state,
  job,
  detail,
  time: `${new Date().toISOString().slice(0, 19)}Z`,
});

/** What the folder's file says; `init` where there is none, or none that makes sense. */
export function readStatus(folder: string): Status {
  try {
    return statusSchema.parse(JSON.parse(readFileSync(join(folder, STATUS_FILE), 'utf8')));
  } catch {
    return before;
  }
}

/** Replaces the file. */
export function writeStatus(folder: string, status: Status): void {
  renameSync(written(folder, status), join(folder, STATUS_FILE));
}

/** Writes the file if there is none; whether there was none. */
export function createStatus(folder: string, status: Status): boolean {
  const beside = written(folder, status);
  try {
    linkSync(beside, join(folder, STATUS_FILE));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(beside);
  }
}

export const removeStatus = (folder: string): void => rmSync(join(folder, STATUS_FILE), { force: true });

function written(folder: string, status: Status): string {
  const path = join(folder, `${STATUS_FILE}.${process.pid}`);
  writeFileSync(path, `${JSON.stringify(status)}\n`);
  return path;
}
