import { expect, test } from 'vitest';
import { partsOf } from '../src/walk/parts.ts';
import { sectionsOf, titleOf } from '../src/walk/search.ts';

const title = (text: string): string | undefined => titleOf(partsOf(text)[0] as never);

test('a part is called by its heading, or by what it defines first', () => {
  expect(title('// ## Buckets\n\n/** X. */\nclass Bucket {}\n')).toBe('Buckets');
  expect(title('/** X. */\nexport async function fill() {}\n')).toBe('fill');
  expect(title('/** X. */\nimport a;\n\nexport interface Layer {}\n')).toBe('Layer');
  expect(title('/** X. */\nstatic napi_value Configured(const Arguments& a) {\n')).toBe('Configured');
  expect(title('/** X. */\n')).toBeUndefined();
});

test('a walkthrough is found by its comments, at their lines', () => {
  const sections = sectionsOf('walk/data-parallel/data-parallel.ts.md') ?? [];
  expect(sections[0]).toMatchObject({ anchor: '', titles: ['data-parallel/data-parallel.ts'] });
  const buckets = sections.find(({ titles }) => titles[1] === 'Buckets');
  expect(buckets?.anchor).toMatch(/^L\d+$/);
  expect(buckets?.text).toContain('Backward finishes the last layers first');
});

test('pages of Markdown are left to VitePress', () => {
  expect(sectionsOf('serve.md')).toBeUndefined();
});
