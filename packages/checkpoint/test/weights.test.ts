import { memory, openBackend, UserError } from '@fourfold/runtime';
import { beforeAll, expect, test } from 'vitest';
import { checkWeights, runsOf, valuesFrom, type Weights } from '../src/weights.ts';

beforeAll(() => openBackend({ device: 'wasm' }));

/** The numbers 0, 1, 2, ... in a tensor of such a shape. */
const counted = (shape: number[]): Weights => ({
  path: 'here',
  tensors: new Map([['a', { dtype: 'F32', shape }]]),
  read: (_, shard) => Float32Array.from([...runsOf(shape, shard)].flatMap(([from, to]) => range(from, to))),
  close: () => {},
});
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test('the whole tensor is one run, rows are one, columns one a row', () => {
  expect([...runsOf([4, 6], undefined)]).toEqual([[0, 24]]);
  expect([...runsOf([4, 6], { axis: 0, index: 1, of: 2 })]).toEqual([[12, 24]]);
  expect([...runsOf([2, 6], { axis: 1, index: 2, of: 3 })]).toEqual([
    [4, 6],
    [10, 12],
  ]);
});

test("a parameter's value is its part of the tensor, in the part's shape, and nothing else stays", async () => {
  const before = memory().tensors;
  const values = valuesFrom(counted([2, 6]));
  const part = values({ name: 'a', fullShape: [2, 6], shard: { axis: 1, index: 1, of: 2 } });
  expect(part.shape).toEqual([2, 3]);
  expect([...(await part.data())]).toEqual([3, 4, 5, 9, 10, 11]);
  const whole = values({ name: 'a', fullShape: [2, 6], shard: undefined });
  expect([...(await whole.data())]).toEqual(range(0, 12));
  part.dispose();
  whole.dispose();
  expect(memory().tensors).toBe(before);
});

test('a missing tensor, one of another shape and one too many are refused by name', () => {
  const check = (shapes: [string, number[]][]) => () => checkWeights(counted([2, 6]), new Map(shapes));
  expect(check([['a', [2, 6]]])).not.toThrow();
  expect(check([['a', [6, 2]]])).toThrow(new UserError('here: "a" has shape [2,6], and by its config it has [6,2]'));
  expect(check([])).toThrow(new UserError('here has a tensor "a", which no Llama of its config has'));
  const missing = new UserError('here has no tensor "b", which its config asks for');
  expect(
    check([
      ['a', [2, 6]],
      ['b', [1]],
    ]),
  ).toThrow(missing);
});
