import { expect, test } from 'vitest';
import { walkSidebars } from '../src/sidebar/walk.ts';
import { groups, linkOf } from '../src/walk/files.ts';

test("a package's pages list its own files, by their names within it, and all packages", () => {
  const sidebars = walkSidebars();
  for (const { title, files } of groups()) {
    const items = sidebars[`/walk/${title}/`];
    if (!Array.isArray(items)) throw new Error(`no sidebar for ${title}`);
    expect(items.map(({ text }) => text)).toEqual(['All files', ...groups().map((group) => group.title)]);
    expect(items.flatMap((item) => (item.items ?? []).map(({ link }) => link))).toEqual(files.map(linkOf));
    for (const file of files) expect(linkOf(file).startsWith(`/walk/${title}/`)).toBe(true);
  }
  const ranks = JSON.stringify(sidebars['/walk/process-group/']);
  expect(ranks).toContain('"text":"tcp/tcp.ts"');
});
