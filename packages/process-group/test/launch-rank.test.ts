import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { placeIn } from '../src/launch/rank.ts';
import { child, isAlive, launching, start, until } from './launch-command.ts';

test('a place is small letters, digits and spaces, at most 40', () => {
  expect(placeIn({ fourfold: { place: 'dp0 tp1' } })).toBe('dp0 tp1');
});

test.each([
  undefined,
  null,
  'dp0',
  { fourfold: null },
  { fourfold: 'dp0' },
  { fourfold: { place: 3 } },
  { fourfold: { place: '' } },
  { fourfold: { place: 'a'.repeat(41) } },
  { fourfold: { place: 'dp0\n[rank 9]' } },
  { fourfold: { place: '\u001b[2J' } },
])('%j is no place', (message) => {
  expect(placeIn(message)).toBeUndefined();
});

test('ranks end when the launcher is killed with -9', async () => {
  const { process: launcher, ended, said } = start(launching(2, 'join'));
  const text = await said(/ready.*ready/s);
  const ranks = [...text.matchAll(/ready (\d+)/g)].map(([, pid]) => Number(pid));
  expect(ranks.map(isAlive)).toEqual([true, true]);
  launcher.kill('SIGKILL');
  expect((await ended).signal).toBe('SIGKILL');
  await until(() => (ranks.some(isAlive) ? undefined : true));
});

test('a rank that has joined still ends by itself, and is shown under its place', async () => {
  const { code, stdout } = await start(launching(1, 'join leave')).ended;
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\[(joined|rank 0)\] ready \d+\n$/);
});

test('without a launcher both calls do nothing', () => {
  const cwd = fileURLToPath(new URL('..', import.meta.url));
  const output = execFileSync(process.execPath, ['--import', 'tsx', child, 'join', 'leave'], { cwd, encoding: 'utf8' });
  expect(output).toMatch(/^ready \d+\n$/);
});
