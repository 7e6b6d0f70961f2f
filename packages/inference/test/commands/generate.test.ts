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
});

test('what cannot be is one sentence, and exit code 2', async () => {
  const missing = await run(['generate', '--model', '/nowhere']);
  expect([missing.code, missing.stderr]).toEqual([2, expect.stringContaining('model=/nowhere is no model here')]);
  const long = await run(['generate', '--model', folder, '--prompt', 'x'.repeat(600)]);
  expect([long.code, long.stderr]).toEqual([2, expect.stringContaining('The prompt has 601 tokens, and the context')]);
});
