import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../support/command.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let folder = '';
beforeAll(async () => {
  folder = await tinyFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

test('a text goes on from its prompt, and the same seed writes the same', async () => {
  const args = ['generate', '--model', folder, '--prompt', 'Call me', '--steps', '12', '--temperature', '1'];
  const first = await run([...args, '--seed', '3']);
  expect([first.code, first.stdout.slice(0, 7)]).toEqual([0, 'Call me']);
  expect((await run([...args, '--seed', '3', '--top-p', '1'])).stdout).toBe(first.stdout);
  expect((await run([...args, '--seed', '4'])).stdout).not.toBe(first.stdout);
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

test('what cannot be is one sentence, and exit code 2', async () => {
  const missing = await run(['generate', '--model', '/nowhere']);
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('model=/nowhere is no model here')]);
  const long = await run(['generate', '--model', folder, '--prompt', 'x'.repeat(600)]);
  expect([long.code, long.stderr]).toEqual([2, expect.stringContaining('The prompt has 601 tokens, and the context')]);
});
