/**
 * One set-up at a time: a file that only one process can create, with the process's number in it.
 *
 * The holder touches the file every two seconds. A lock whose process is gone, or that was not touched for a minute, is
 * left over from a crash and taken away. The lock saves double work and nothing depends on it: each process makes its
 * parts in a folder of its own and moves them into place whole.
 */
import { open, readFile, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

interface Holder {
  readonly pid: number;
  readonly host: string;
}

const TOUCH = 2_000; // milliseconds
const STALE = 60_000;
const RETRY = 300;

/**
 * Takes the lock at `path` and returns the function that gives it back. While another process holds it, waits; calls
 * `onWait` once with that process in words.
 */
export async function lock(path: string, onWait: (holder: string) => void): Promise<() => Promise<void>> {
  let told = false;
  while (!(await create(path))) {
    const holder = await holderOf(path);
    if (holder === 'gone') await rm(path, { force: true });
    else {
      if (!told) onWait(holder);
      told = true;
      await sleep(RETRY);
    }
  }
  const timer = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), TOUCH);
  return async () => {
    clearInterval(timer);
    await rm(path, { force: true });
  };
}

/** Creates the lock file; false where it exists. */
async function create(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx');
    await file.writeFile(JSON.stringify({ pid: process.pid, host: hostname() } satisfies Holder));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Who holds the lock, in words, or 'gone' where nobody does any more. */
async function holderOf(path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (!info) return 'another process'; // just released: the next try will get it
  if (Date.now() - info.mtimeMs > STALE) return 'gone';
  const text = await readFile(path, 'utf8').catch(() => '');
  if (text === '') return 'another process'; // created this instant, not written yet
  const { pid, host } = JSON.parse(text) as Holder;
  if (host !== hostname()) return `process ${pid} on ${host}`;
  return isAlive(pid) ? `process ${pid}` : 'gone';
}

/** Whether a process of this machine exists; signal 0 asks without sending anything. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // it does, and is another user's
  }
}
