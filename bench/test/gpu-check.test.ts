import { expect, test } from 'vitest';
import { bench } from './command.ts';

const slow = { timeout: 120_000 }; // seconds, on a machine that does nothing else

test('a machine without a GPU is refused in a sentence', async () => {
  process.env['CUDA_VISIBLE_DEVICES'] = '-1'; // so that one with a GPU shows the command none either
  const { code, stdout, stderr } = await bench('gpu-check.ts');
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^device=cuda.* GPU|^device=cuda needs an NVIDIA driver/);
  expect(stderr.trimEnd()).not.toContain('\n');
});

test("the CPU's fused ops: layers in float32, inference, models in both dtypes", slow, async () => {
  const { code, stdout, stderr } = await bench('gpu-check.ts', '--device', 'cpu');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, layers, packed, models] = stdout.trimEnd().split('\n\n');
  expect(title).toMatch(/^TensorFlow .* CPU thread/);
  const [, ...ofLayers] = layers?.split('\n') ?? [];
  expect(ofLayers).toHaveLength(21);
  for (const line of ofLayers) expect(line).toMatch(/^ok {3}.* float32 \d\.\de[+-]\d \(\S+\)$/);
  const [, ...ofPacked] = packed?.split('\n') ?? [];
  expect(ofPacked).toHaveLength(94 + 5);
  for (const line of ofPacked)
    expect(line).toMatch(/^ok {3}.*( \d\.\de[+-]\d \(\d+e-\d\)| whatever the number of rows)$/);
  const [, ...ofModels] = models?.split('\n') ?? [];
  expect(ofModels).toHaveLength(12);
  for (const line of ofModels) expect(line).toMatch(/^ok {3}\w+, (float32|bfloat16)[, ]/);
});

test('a part alone; one that is none is refused in a sentence', async () => {
  const { stdout } = await bench('gpu-check.ts', '--device', 'cpu', '--only', 'layers');
  expect(stdout).toMatch(/rmsNorm/);
  expect(stdout).not.toMatch(/PyTorch/);
  const { code, stderr } = await bench('gpu-check.ts', '--only', 'modle');
  expect({ code, stderr }).toEqual({
    code: 2,
    stderr: '--only modle: use one of layers, packed, model, waiting, or several with commas between\n',
  });
});
