/** Every command that a page tells a reader to type exists, with its flags: each says so in a process of its own. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkCommands } from '../src/fences/commands.ts';
import { readPages } from '../src/fences/pages.ts';

const root = join(import.meta.dirname, '../..');
const pages = readPages(root);

test('commands and their flags exist', async () => {
  expect(await checkCommands(pages, root)).toEqual([]);
});
