import { expect, test } from 'vitest';
import { quote, quoteC } from '../src/fences/quote.ts';

const source = `/** A comment. */
export const one = (x: number) =>
  x + 1;

/** Another. */
export function two() {
  return 2;
}

class Three {
  readonly #three = 3;

  /** Adds. */
  plus(): number {
    return this.#three;
  }

  #hidden() {}
}

export interface Four {
  readonly four: 4;
}
type Five = 5;
`;

test.each([
  ['one', 'export const one = (x: number) =>\n  x + 1;'],
  ['two', 'export function two() {\n  return 2;\n}'],
  ['Three.plus', 'plus(): number {\n  return this.#three;\n}'],
  ['Three.#hidden', '#hidden() {}'],
  ['Four', 'export interface Four {\n  readonly four: 4;\n}'],
  ['Five', 'type Five = 5;'],
])('%s is quoted as it stands, at the left margin', (name, text) => {
  expect(quote(source, name)).toBe(text);
});

test.each(['three', 'Three.minus', 'two.x'])('%s is not there', (name) => {
  expect(quote(source, name)).toBeUndefined();
});

test('a function of CUDA is quoted from its first line to its closing brace', () => {
  const cuda = [
    '// calls one(x)',
    ...['__device__ float one(float x) {', '    if (x > 0) {', '        x = 1;', '    }', '    return x;', '}'],
    ...['', 'void two() {', '}', ''],
  ].join('\n');
  expect(quoteC(cuda, 'one')).toBe(cuda.split('\n').slice(1, 7).join('\n'));
  expect(quoteC(cuda, 'three')).toBeUndefined();
});
