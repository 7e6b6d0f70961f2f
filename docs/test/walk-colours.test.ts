import { expect, test } from 'vitest';
import { colouredFence, colouredLines, escapeHtml } from '../src/walk/colours.ts';

const words = (html: string): string => html.replaceAll(/<[^>]*>/g, '');

test('TypeScript is coloured by what its words are, over the ends of lines', () => {
  const [first, second, third] = colouredLines(
    'a.ts',
    "const f = (x: Tensor) => g(x, 'a<b', 2);\n/* one\ntwo */ f();\n",
  );
  expect(first).toContain('<span class="k">const</span>');
  expect(first).toContain('<span class="t">Tensor</span>');
  expect(first).toContain(`<span class="s">'a&lt;b'</span>`);
  expect(first).toContain('<span class="n">2</span>');
  expect(second).toBe('<span class="c">/* one</span>');
  expect(third).toMatch(/^<span class="c">two \*\/<\/span> .*f.*\(\);$/);
});

test('CUDA is read as C++, and loses nothing where it is not', () => {
  const text = 'extern "C" __global__ void f(const float* x) {\n  f<<<1, 2>>>(x);\n}';
  const lines = colouredLines('a.cu', text);
  expect(lines.map(words)).toEqual(text.split('\n').map(escapeHtml));
  expect(lines[0]).toContain('<span class="k">const</span>');
});

test('a fence keeps its text, and has colours where its language is known', () => {
  const pre = (html: string) => `<pre class="coloured" tabindex="0" v-pre><code>${html}</code></pre>`;
  expect(colouredFence('const x = 2;\n', 'ts')).toContain('<span class="k">const</span>');
  expect(words(colouredFence('a < b;\n\nc;\n', 'ts quote a.ts#b'))).toBe('a &lt; b;\n\nc;');
  expect(colouredFence('npm start  # {{ 2 }}\n', 'sh')).toBe(pre('npm start  # {{ 2 }}'));
  expect(colouredFence('tsc\n', 'tsx-like')).toBe(pre('tsc'));
});
