import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blocksOf, pageOf, readPages, withBlocks } from '../src/fences/pages.ts';

const text = `# Title

<!--ts
const hidden = 1;
-->

\`\`\`ts
console.log(hidden);
\`\`\`

\`\`\`text output figures-vary
\`\`\`

    npm start -- --steps 1

<!-- a remark -->
`;

test('blocks are fences, hidden programs and indented commands, with the lines of the page', () => {
  expect(blocksOf(text)).toEqual([
    { kind: 'hidden', words: [], text: 'const hidden = 1;\n', line: 3 },
    { kind: 'ts', words: [], text: 'console.log(hidden);\n', line: 7 },
    { kind: 'text', words: ['output', 'figures-vary'], text: '', line: 11 },
    { kind: 'indented', words: [], text: 'npm start -- --steps 1\n', line: 13 },
  ]);
});

test('a block’s text is replaced, empty or not, and nothing else is', () => {
  const page = pageOf('x.md', text);
  const [, program, output] = page.blocks;
  const written = withBlocks(
    page,
    new Map([
      [program, 'one\ntwo'],
      [output, '1\n2\n'],
    ] as never),
  );
  expect(written).toBe(
    text.replace('console.log(hidden);', 'one\ntwo').replace('figures-vary\n', 'figures-vary\n1\n2\n'),
  );
});

test('the pages of the repository are found, and none that a program writes', () => {
  const paths = readPages(join(import.meta.dirname, '../..')).map(({ path }) => path);
  expect(paths).toEqual(expect.arrayContaining(['README.md', 'docs/chapters/idea.md', 'docs/plan.md']));
  expect(paths.filter((path) => /node_modules|^docs\/(api|walk)\//.test(path))).toEqual([]);
});
