import { expect, test } from 'vitest';
import { SHOWN, showLine } from '../src/walk/shown-line.ts';

/** A page of such elements; their classes are what the test looks at. */
function pageOf(...ids: string[]) {
  const classes = new Map(ids.map((id) => [id, new Set<string>()]));
  const elementOf = (id: string) => ({
    classList: {
      add: (name: string) => classes.get(id)?.add(name),
      remove: (name: string) => classes.get(id)?.delete(name),
    } as unknown as DOMTokenList,
  });
  const marked = () => ids.filter((id) => classes.get(id)?.has(SHOWN));
  return {
    marked,
    getElementById: (id: string) => (classes.has(id) ? elementOf(id) : null),
    getElementsByClassName: () => marked().map(elementOf),
  };
}

test('the line that the hash names is marked, and the one before is not any more', () => {
  const page = pageOf('L1', 'L42');
  showLine(page, '#L42');
  expect(page.marked()).toEqual(['L42']);
  showLine(page, '#L1');
  expect(page.marked()).toEqual(['L1']);
});

test.each(['', '#L7', '#buckets', '#L4x'])('nothing is marked for %j', (hash) => {
  const page = pageOf('L4', 'buckets');
  showLine(page, '#L4');
  showLine(page, hash);
  expect(page.marked()).toEqual([]);
});
