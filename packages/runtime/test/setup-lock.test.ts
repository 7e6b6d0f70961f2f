import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { lock } from '../src/setup/lock.ts';

function lockPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-lock-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'lock');
}

test('the second holder comes after the first has let go, and is told who that is', async () => {
  const path = lockPath();
  const events: string[] = [];
  const release = await lock(path, () => events.push('never'));
  const second = lock(path, (holder) => events.push(holder)).then(async (releaseSecond) => {
    events.push('second');
    await releaseSecond();
  });
  await new Promise((resolve) => setTimeout(resolve, 700)); // two tries
  events.push('released');
  await release();
  await second;
  expect(events).toEqual([`process ${process.pid}`, 'released', 'second']);
  expect(existsSync(path)).toBe(false);
});

test('a lock that nobody has touched for a minute is taken away, whoever wrote it', async () => {
  const path = lockPath();
  writeFileSync(path, JSON.stringify({ pid: process.pid, host: 'elsewhere' }));
  const old = Date.now() / 1000 - 61;
  utimesSync(path, old, old);
  const release = await lock(path, (holder) => expect.unreachable(holder));
  await release();
});

test('a lock held on another machine is respected while it is touched', async () => {
  const path = lockPath();
  writeFileSync(path, JSON.stringify({ pid: 1, host: 'elsewhere' }));
  const waited: string[] = [];
  const release = await lock(path, (holder) => {
    waited.push(holder);
    rmSync(path); // the other machine lets go
  });
  expect(waited).toEqual(['process 1 on elsewhere']);
  await release();
});
