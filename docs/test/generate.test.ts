import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readEntries } from '../src/api/entries.ts';
import { generateApi } from '../src/api/generate.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'api-'));
  mkdirSync(join(root, 'docs'));
  const options = { module: 'nodenext', allowImportingTsExtensions: true, noEmit: true, types: [] };
  writeFileSync(
    join(root, 'docs/tsconfig.api.json'),
    JSON.stringify({ compilerOptions: options, include: ['../packages/*/src'] }),
  );
});
afterEach(() => rmSync(root, { recursive: true }));

/** A package of one file. */
function write(name: string, text: string): void {
  const folder = join(root, 'packages', name);
  mkdirSync(join(folder, 'src'), { recursive: true });
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name: `@fourfold/${name}`, type: 'module', exports: './src/index.ts' }),
  );
  writeFileSync(join(folder, 'src/index.ts'), text);
}

const out = (): string => join(root, 'docs/api');
const generate = (): Promise<readonly string[]> => generateApi(root, readEntries(root), out());

test('a page says what the file says, and where each symbol is', async () => {
  write(
    'ring',
    [
      '/** Rings. */',
      '',
      '/** What a ring is made of. */',
      'export interface Ring {',
      '  /** How many ranks it joins. */',
      '  readonly size: number;',
      '}',
      '/** The ranks of a ring, from 0. */',
      'export const ranksOf = ({ size }: Ring): number[] => [...Array(size).keys()];',
      '',
    ].join('\n'),
  );
  write('other', '/** Another package. */\n\n/** One. */\nexport const one = 1;\n');
  expect(await generate()).toEqual([]);
  const page = readFileSync(join(out(), 'ring.md'), 'utf8');
  expect(page).toContain('# @fourfold/ring\n\nRings.');
  expect(page).toContain('How many ranks it joins.');
  expect(page).toContain('[packages/ring/src/index.ts:9](../../packages/ring/src/index.ts#L9)');
  expect(page).not.toContain('__namedParameters');
  expect(readFileSync(join(out(), 'index.md'), 'utf8')).toContain('[@fourfold/other](other.md)');
});

test('what has no comment is complained of, and nothing is written', async () => {
  write(
    'ring',
    '/** Rings. */\n\n/** A ring. */\nexport interface Ring {\n  readonly size: number;\n}\nexport const a = 1;\n',
  );
  const complaints = await generate();
  expect(complaints).toHaveLength(2);
  expect(complaints.join()).toMatch(/ring\.a \(Variable\)/);
  expect(complaints.join()).toMatch(/ring\.Ring\.size \(Property\)/);
  expect(existsSync(out())).toBe(false);
});

test('so is a type that a signature names and no entry exports, in whichever package', async () => {
  write('other', '/** Another. */\n\n/** One. */\nexport const one = 1;\n');
  write(
    'ring',
    '/** Rings. */\n\n/** A. */\ninterface Ring { a: 1 }\n/** One. */\nexport const one = (): Ring => ({ a: 1 });\n',
  );
  expect((await generate()).join()).toMatch(/^Ring, defined in .*is referenced by .*ring\.one but not included/);
});

test("a file's comment is not that of what its first statement exports", async () => {
  write('ring', '/** Rings. */\nexport { a } from "./a.ts";\n');
  writeFileSync(join(root, 'packages/ring/src/a.ts'), '/** A file. */\n\nexport type B = 1;\nexport const a = 1;\n');
  expect((await generate()).join()).toMatch(/ring\.a \(Variable\)/);
});

test('so is a link to nothing', async () => {
  write('ring', '/** Rings. */\n\n/** See {@link nowhere}. */\nexport const a = 1;\n');
  expect((await generate()).join()).toMatch(/Failed to resolve link to "nowhere"/);
});
