/** The check, all of it and a part, run as a command, on the CPU's fused ops. */
import { expect, test } from 'vitest';
import { bench } from './command.ts';

test("the CPU's fused ops: layers in float32, inference, models in both dtypes", async () => {
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

test('a part alone', async () => {
  const { stdout } = await bench('gpu-check.ts', '--device', 'cpu', '--only', 'layers');
  expect(stdout).toMatch(/rmsNorm/);
  expect(stdout).not.toMatch(/PyTorch/);
});
