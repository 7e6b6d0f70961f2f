import { expect, test } from 'vitest';
import { bench } from './command.ts';

test('a machine without a GPU is refused in a sentence', async () => {
  process.env['CUDA_VISIBLE_DEVICES'] = '-1'; // so that one with a GPU shows the command none either
  const { code, stdout, stderr } = await bench('gpu-check.ts');
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^device=cuda.* GPU|^device=cuda needs an NVIDIA driver/);
  expect(stderr.trimEnd()).not.toContain('\n');
});

test('a part that is none is refused in a sentence', async () => {
  const { code, stderr } = await bench('gpu-check.ts', '--only', 'modle');
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: '--only modle: use one of layers, packed, model, waiting, or several with commas between\n',
  });
});
