import { createMarkdownRenderer } from 'vitepress';
import { expect, test } from 'vitest';
import { picturesAsFences } from '../src/pictures.ts';

test('an indented block looks like a fence, can be reached by Tab, and keeps its text', async () => {
  const markdown = await createMarkdownRenderer('.', { config: (md) => md.use(picturesAsFences) });
  const [indented, fenced] = ['    npm start <x>\n', '```txt\nnpm start <x>\n```\n'].map((text) =>
    markdown.render(text, {}),
  );
  expect(indented).toBe(fenced);
  expect(indented).toMatch(/<pre [^>]*tabindex="0"/);
  expect(indented).toContain('npm start &#x3C;x>');
});
