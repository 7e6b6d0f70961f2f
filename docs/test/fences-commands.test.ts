import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkCommands, commandsOf, flagsIn, helpCommand, targetsOf } from '../src/fences/commands.ts';
import { pageOf } from '../src/fences/pages.ts';

const root = join(import.meta.dirname, '../..');
const targets = targetsOf(root);
const pageWith = (...lines: string[]) => pageOf('x.md', ['```sh', ...lines, '```', ''].join('\n'));

test('commands are found with their flags, in fences and indented, without remarks', () => {
  const page = pageOf(
    'x.md',
    '    npm start -- --dp 2 --zero      --no flag\n\n' +
      '```sh\nnpx fourfold chat --top-k 3 && npx nx run bench:cpu # --x\nls --all\n```\n',
  );
  expect(commandsOf(page)).toEqual([
    { where: 'x.md:1', name: 'npm start', flags: ['dp', 'zero'] },
    { where: 'x.md:4', name: 'npx fourfold chat', flags: ['top-k'] },
    { where: 'x.md:4', name: 'npx nx run bench:cpu', flags: [] },
  ]);
});

test('a line that ends in a backslash goes on in the next, and later lines keep their numbers', () => {
  const page = pageWith('npm start -- --dp 2 \\', '  --zero \\', '  --steps 3', 'npm test');
  expect(commandsOf(page)).toEqual([
    { where: 'x.md:2', name: 'npm start', flags: ['dp', 'zero', 'steps'] },
    { where: 'x.md:5', name: 'npm test', flags: [] },
  ]);
});

test('a command’s help is found by its target', () => {
  expect(helpCommand('npm start', targets)).toBe('node --import tsx packages/train/src/train.ts --help');
  expect(helpCommand('npx fourfold serve', targets)).toBe('node packages/fourfold/bin/fourfold.mjs serve --help');
  expect(commandsOf(pageWith('npx fourfold slurm submit a.json --mem 1G'))[0]?.name).toBe('npx fourfold slurm submit');
  expect(helpCommand('npx nx run ops:test', targets)).toBeUndefined();
  expect(() => helpCommand('npx nx run ops:dance', targets)).toThrow('there is no ops:dance');
});

test('flags in a help text have one spelling', () => {
  expect(flagsIn('  --seqLength   128  tokens\n  --max-seq-len')).toEqual(new Set(['seqlength', 'maxseqlen']));
});

test('flags that exist pass in every spelling, others are told with their place', async () => {
  const page = pageWith(
    'npm start -- --seqLength 8 --seq-length 8 --no-zero',
    'npm start -- --banana 1',
    'npx nx run a:b',
  );
  expect(await checkCommands([page], root)).toEqual([
    'x.md:3 npm start has no --banana',
    'x.md:4 npx nx run a:b: there is no a:b',
  ]);
});
