/** The binding of TensorFlow on every major version of Node that it is for. */
import { expect, test } from 'vitest';
import { nodeBinary } from './node-binaries.ts';
import { openIn, PRODUCT } from './open-in.ts';

test.each([20, 22, 24] as const)('the binding loads and works on Node %i, without a warning', async (major) => {
  const node = await nodeBinary(major);
  const { node: version, opened, engine, product, stderr } = await openIn([{ device: 'cpu', threads: 2 }], { node });
  expect(version).toMatch(new RegExp(`^${major}\\.`));
  expect(opened).toMatchObject([{ device: 'cpu', threads: 2 }]);
  expect({ engine, product, stderr }).toEqual({ engine: 'tensorflow', product: PRODUCT, stderr: '' });
});
