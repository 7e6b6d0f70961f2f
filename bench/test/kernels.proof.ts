/** The products of inference in every format, timed by the command with matrices that no cache holds. */
import { expect, test } from 'vitest';
import { bench } from './command.ts';

test('it times the products of every format', async () => {
  const { code, stdout, stderr } = await bench('kernels.ts', '--shape', 'none', '--seconds', '0.01');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const products = stdout.split('\n').filter((line) => / x \d+, (q80|float32) /.test(line));
  const once = ['f32', 'bf16', 'q40', 'q40', 'q41', 'q41', 'q80', 'q80']; // blocks with integers and with floats
  expect(products.map((line) => line.split(' ')[0])).toEqual([...once, ...once]);
  for (const line of products) {
    const [rate, us, macs, many] = line.slice(30).trim().split(/ +/).map(Number);
    for (const figure of [rate, us, macs, many]) expect(figure).toBeGreaterThan(0);
  }
});
