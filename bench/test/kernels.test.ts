import { expect, test } from 'vitest';
import { bench } from './command.ts';

test('it times the steps of a shape', async () => {
  const steps = ['--shape', 'tiny', '--products', 'false', '--prompt', '8', '--position', '3', '--seconds', '0.01'];
  const { code, stdout, stderr } = await bench('kernels.ts', ...steps);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/tiny, q40 weights \(0 MB\), q80 activations, f32 cache\n {2}prompt of 8: +\d+\.\d tokens\/s/);
  expect(stdout).toMatch(/one at position 3: +\d+\.\d tokens\/s/);
});

test('a machine without a GPU is refused in a sentence', async () => {
  process.env['CUDA_VISIBLE_DEVICES'] = '-1'; // so that one with a GPU shows the command none either
  const { code, stdout, stderr } = await bench('kernels.ts', '--device', 'cuda');
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^device=cuda.* GPU|^device=cuda needs an NVIDIA driver/);
});
