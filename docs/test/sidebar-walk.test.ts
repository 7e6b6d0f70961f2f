import { expect, test } from 'vitest';
import { walkSidebar } from '../src/sidebar/walk.ts';
import { groups, linkOf } from '../src/walk/files.ts';

test('the sidebar lists every walkthrough once, by its name within its group', () => {
  const [list, ...folded] = walkSidebar();
  expect(list?.link).toBe('/walk/');
  const links = folded.flatMap(({ items }) => (items ?? []).map(({ link }) => link));
  expect(links).toEqual(groups().flatMap(({ files }) => files.map(linkOf)));
  expect(folded.find(({ text }) => text === 'process-group')?.items?.map(({ text }) => text)).toContain('tcp/tcp.ts');
});
