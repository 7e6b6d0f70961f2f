import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { Work } from '../src/work.ts';
import { sleep } from './sockets.ts';

/** A work under way, and how to end it. */
function begun<T = number>() {
  let waits = 0;
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const running = new Promise<T>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  const work = Work.of(running, () => {
    waits += 1;
  });
  return { work, resolve, reject, waits: () => waits };
}

test('nobody waits before `await`, and one that is awaited again counts once', async () => {
  const { work, resolve, waits } = begun();
  await sleep(5);
  expect(waits()).toBe(0);
  resolve(7);
  await sleep(5);
  expect(waits()).toBe(0); // ready, but not awaited
  expect(await work).toBe(7);
  expect(waits()).toBe(1);
  expect(await work).toBe(7);
  expect(waits()).toBe(1);
});

test('`await` begins to wait while the result is still to come', async () => {
  const { work, resolve, waits } = begun();
  const waiting = (async () => await work)();
  await Promise.resolve();
  expect(waits()).toBe(1);
  resolve(3);
  expect(await waiting).toBe(3);
});

test.each<[string, (works: Promise<number>[]) => Promise<unknown>]>([
  ['Promise.all', (works) => Promise.all(works)],
  ['Promise.allSettled', (works) => Promise.allSettled(works)],
  ['Promise.race', (works) => Promise.race(works)],
])('%s waits for all of them', async (_, join) => {
  const works = [begun(), begun()];
  const joined = join(works.map(({ work }) => work));
  await Promise.resolve();
  expect(works.map(({ waits }) => waits())).toEqual([1, 1]);
  for (const { resolve } of works) resolve(1);
  await joined;
});

test('then, catch and finally wait too, and give plain promises', async () => {
  const works = [begun(), begun(), begun()] as const;
  const chains = [works[0].work.then((x) => x + 1), works[1].work.catch(() => 0), works[2].work.finally(() => {})];
  for (const { resolve, waits } of works) {
    expect(waits()).toBe(1);
    resolve(1);
  }
  for (const chain of chains) expect(chain).not.toBeInstanceOf(Work);
  expect(works[0].work).toBeInstanceOf(Work);
  expect(await Promise.all(chains)).toEqual([2, 1, 1]);
});

test('an error reaches whoever awaits', async () => {
  const { work, reject } = begun();
  reject(new Error('rank 1 died'));
  await sleep(1);
  await expect(work).rejects.toThrow('rank 1 died');
});

test('a work that fails and that nobody awaits ends no process; one whose `then` nobody catches does', () => {
  const program = (use: string) => `
    import { Work } from ${JSON.stringify(new URL('../src/work.ts', import.meta.url).href)};
    const work = Work.of(Promise.reject(new Error('rank 1 died')), () => {});
    ${use}
    setTimeout(() => console.log('still here'), 50);`;
  const run = (use: string) =>
    spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program(use)], { encoding: 'utf8' });
  expect(run('')).toMatchObject({ status: 0, stdout: 'still here\n' });
  expect(run('work.then(() => {});')).toMatchObject({ status: 1, stdout: '' });
});
