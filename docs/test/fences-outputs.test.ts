import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { asRun, compareOutputs, compareQuotes, isSame, runCommands } from '../src/fences/outputs.ts';
import { pageOf } from '../src/fences/pages.ts';

const fence = (info: string, ...lines: string[]) => ['```' + info, ...lines, '```', ''].join('\n');
const block = (info: string, text: string) => pageOf('x.md', fence(info, text)).blocks[0] as never;

test('an output is compared to the letter', () => {
  expect(isSame(block('text output', 'a 1'), 'a 1\n')).toBe(true);
  expect(isSame(block('text output', 'a 1'), 'a 2')).toBe(false);
});

test('where figures vary, digits may differ and words may not', () => {
  const shown = block('text output figures-vary', 'step   1 | loss 5.47 | 1.0e-04');
  expect(isSame(shown, 'step 10 | loss 5.4 | 2.0e-03')).toBe(true);
  expect(isSame(shown, 'step 10 | loss 5.4K | 0.7-1.3 ms')).toBe(true);
  expect(isSame(shown, 'step 10 | norm 5.4 | 2.0e-03')).toBe(false);
  expect(isSame(shown, 'step 10 | loss 5.4 MB | 2.0e-03')).toBe(false);
  expect(isSame(shown, 'step 10 | loss -5.4 | 2.0e-03')).toBe(false);
});

test('differences and outputs that are not shown are found', () => {
  const page = pageOf('x.md', fence('ts', '1;') + fence('text output', 'old') + fence('ts', '2;') + fence('ts', '3;'));
  const { differences, complaints } = compareOutputs(
    page,
    new Map([
      [1, 'new'],
      [7, 'unseen'],
    ]),
  );
  expect(differences).toEqual([{ block: page.blocks[1], actual: 'new' }]);
  expect(complaints).toEqual(['x.md:7 prints this, and no ```text output after it shows it: unseen']);
});

test('an output under a fence that prints nothing is a difference', () => {
  const page = pageOf('x.md', fence('ts', '1;') + fence('text output', 'old'));
  expect(compareOutputs(page, new Map()).differences).toEqual([{ block: page.blocks[1], actual: '' }]);
});

test('quotations are compared with the file, and a name that is gone is told', () => {
  const root = mkdtempSync('/tmp/quotes-');
  writeFileSync(join(root, 'a.ts'), 'const a = 1;\n');
  const page = pageOf(
    'x.md',
    fence('ts quote a.ts#a', 'const a = 2;') + fence('ts quote a.ts#b') + fence('ts quote c.ts#a'),
  );
  const { differences, complaints } = compareQuotes(page, root);
  expect(differences).toEqual([{ block: page.blocks[0], actual: 'const a = 1;' }]);
  expect(complaints).toEqual(['x.md:4 quotes b of a.ts, which has none', 'x.md:6 quotes a of c.ts, which has none']);
});

test('commands marked run are run in one folder, and one that fails ends it', async () => {
  const page = pageOf(
    'x.md',
    fence('sh run', 'echo one > a', 'echo two') + fence('sh', 'rm a') + fence('sh run', 'cat a'),
  );
  expect(await runCommands(page, '/')).toEqual(
    new Map([
      [1, 'two'],
      [8, 'one'],
    ]),
  );
  await expect(runCommands(pageOf('x.md', fence('sh run', 'false', 'echo on')), '/')).rejects.toThrow();
});

test('a reader’s commands are run by their full names', () => {
  const [train, chat, rest] = asRun('npm start -- --dp 2\nnpx fourfold chat\necho npx fourfold', '/r').split('\n');
  expect(train).toMatch(/^\S+ --import \S+ \/r\/packages\/train\/src\/train.ts --dp 2$/);
  expect(chat).toMatch(/^\S+ \/r\/packages\/fourfold\/bin\/fourfold.mjs chat$/);
  expect(rest).toBe('echo npx fourfold');
});
