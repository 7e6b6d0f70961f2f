import { expect, test } from 'vitest';
import { firstSentence, htmlOf, inlineHtmlOf, pictureWidth } from '../src/walk/prose.ts';

const html = (text: string): string => htmlOf(text.split('\n'), () => undefined).trim();

test('what Markdown would take for markup stands as it is', () => {
  const text = 'Map<K, V> of q_BTHK * w_DFt ** 2, [blocks, D](x), {{ mustache }}, a | b, ~~x~~, &amp; a\\_b';
  expect(html(text)).toBe(`<p>${text.replaceAll('&', '&amp;').replace('<K, V>', '&lt;K, V&gt;')}</p>`);
});

test('headings, lists and `code` are what they look like', () => {
  expect(html('## A\n\nb `c<d>`\n\n- e\n- f\n  g')).toBe(
    '<h2>A</h2>\n<p>b <code>c&lt;d&gt;</code></p>\n<ul>\n<li>e</li>\n<li>f\ng</li>\n</ul>',
  );
});

test('indented lines are a picture, with its blank lines and without the indentation that it shares', () => {
  const picture = '<pre tabindex="0"><code>a\n\n  b\n</code></pre>';
  expect(html('So:\n  a\n\n    b\nand')).toBe(`<p>So:</p>\n${picture}\n<p>and</p>`);
  expect(html('- e\n  f\n\n    g')).toContain('<pre tabindex="0"><code>g\n</code></pre>');
});

test('$ is mathematics in pairs, and a dollar alone', () => {
  expect(html('$x^2$')).toContain('katex');
  expect(html('it costs $5')).toBe('<p>it costs $5</p>');
  expect(html('`$a and $b`')).toBe('<p><code>$a and $b</code></p>');
});

test('tags of editors become words', () => {
  expect(html('@throws UserError for ZeRO\n@returns x')).toBe('<p>Throws UserError for ZeRO\nReturns x</p>');
});

test('a path that leads somewhere is a link, any other is not', () => {
  const resolve = (path: string): string | undefined => (path.endsWith('a.ts') ? 'to.html' : undefined);
  expect(htmlOf(['see packages/x/a.ts, packages/x/b.ts.'], resolve)).toBe(
    '<p>see <a href="to.html">packages/x/a.ts</a>, packages/x/b.ts.</p>\n',
  );
});

test('the width is that of the widest picture', () => {
  expect(pictureWidth(['a long line of words that is no picture'])).toBe(0);
  expect(pictureWidth(['a', '', '    12', '      34'])).toBe(8);
});

test('the first sentence ends at its full stop, not within a name', () => {
  expect(firstSentence(['One rank.ts file', 'and more. Then', '', 'x'])).toBe('One rank.ts file and more.');
  expect(firstSentence(['Two ways:', '', '    a'])).toBe('Two ways.');
  expect(inlineHtmlOf('a `b`')).toBe('a <code>b</code>');
});
