/** `npx fourfold generate` on two ranks, and with another seed. */
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../support/command.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let folder = '';
beforeAll(async () => {
  folder = await tinyFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

test('another seed writes another text', async () => {
  const args = ['generate', '--model', folder, '--prompt', 'Call me', '--steps', '12', '--temperature', '1'];
  const [first, second] = [await run([...args, '--seed', '3']), await run([...args, '--seed', '4'])];
  expect([first.code, second.code]).toEqual([0, 0]);
  expect(second.stdout).not.toBe(first.stdout);
});

test('--stats prints a line for each token and a table, and the text is the same', async () => {
  const args = ['generate', '--model', folder, '--prompt', 'Call me', '--steps', '12', '--local', '2'];
  const [plain, stats] = [await run(args), await run([...args, '--stats'])];
  const lines = stats.stdout.split('\n').filter((line) => / ms {2}I /.test(line));
  for (const line of lines) expect(line).toMatch(/ms {2}T +[\d.]+ ms {2}S +[\d.]+ kB {2}R +[\d.]+ kB {2}"/);
  const pieces = lines.map((line) => JSON.parse(/".*"$/.exec(line)?.[0] ?? '') as string);
  expect(`${pieces.join('')}\n`).toBe(plain.stdout);
  expect(stats.stdout).toMatch(/^generation {3}[\d.]+ tokens\/s/m);
  expect(stats.stdout.match(/^rank \d/gm)).toEqual(['rank 0', 'rank 1']);
}, 60_000);
