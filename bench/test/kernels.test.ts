import { expect, test } from 'vitest';
import { bench } from './command.ts';

test('it times the products of every format, and the steps of a shape', async () => {
  const { code, stdout, stderr } = await bench(
    'kernels.ts',
    '--shape',
    'tiny',
    '--prompt',
    '8',
    '--seconds',
    '0.01',
    '--position',
    '3',
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const products = stdout.split('\n').filter((line) => / x \d+, (q80|float32) /.test(line));
  const once = ['f32', 'bf16', 'q40', 'q40', 'q41', 'q41', 'q80', 'q80']; // blocks with integers and with floats
  expect(products.map((line) => line.split(' ')[0])).toEqual([...once, ...once]);
  for (const line of products) {
    const [rate, us, macs, many] = line.slice(30).trim().split(/ +/).map(Number);
    for (const figure of [rate, us, macs, many]) expect(figure).toBeGreaterThan(0);
  }
  expect(stdout).toMatch(/tiny, q40 weights \(0 MB\), q80 activations, f32 cache\n {2}prompt of 8: +\d+\.\d tokens\/s/);
  expect(stdout).toMatch(/one at position 3: +\d+\.\d tokens\/s/);
});

test('a machine without a GPU is refused in a sentence', async () => {
  process.env['CUDA_VISIBLE_DEVICES'] = '-1'; // so that one with a GPU shows the command none either
  const { code, stdout, stderr } = await bench('kernels.ts', '--device', 'cuda');
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^device=cuda.* GPU|^device=cuda needs an NVIDIA driver/);
});
