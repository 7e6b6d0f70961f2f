import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const nano = ['gpu.ts', '--shape', 'nano', '--device', 'cpu', '--steps', '3'] as const;

test('PyTorch gets the same task, eager and compiled, and all figures are kept', async () => {
  const [input, out] = [join(folder, 'input.jsonl'), join(folder, 'results')];
  const reply = { version: '9.9', device: 'NVIDIA H100 80GB HBM3', milliseconds: [2, 1, 9], peakBytes: 5e6, loss: 5 };
  const fake = python(
    folder,
    'fake',
    'exit 0',
    `cat >> '${input}'; echo >> '${input}'; echo '${JSON.stringify(reply)}'`,
  );
  const flags = ['--layers', '1', '--batch', '4', '--recompute', 'block', '--python', fake, '--out', out];
  const { code, stdout } = await bench(...nano, ...flags);
  expect(code).toBe(0);
  const lines = readFileSync(input, 'utf8').trim().split('\n');
  const asked = lines.map((line) => JSON.parse(line));
  const same = { layers: 1, dim: 64, heads: 4, kvHeads: 2, vocabulary: 256, tied: true, theta: 1e4, batch: 4, seq: 32 };
  const settings = { ...same, warmup: 3, steps: 3, recompute: true };
  expect(asked).toMatchObject([
    { ...settings, compile: false },
    { ...settings, compile: true },
  ]);
  expect(stdout).toMatch(/^PyTorch 9\.9, eager +2\.0 +64000 +\d\.\d % +5 MB +5\.000 +\d+\.\d\d x$/m); // 4 x 32 in 2 ms

  const [file = ''] = readdirSync(out);
  expect(file).toMatch(/^gpu-nano-layers-1-batch-4-recompute-block-\d+-CPU-threads?\.json$/); // what isn't as usual
  const { runs, task, ...rest } = JSON.parse(readFileSync(join(out, file), 'utf8'));
  expect(Object.keys(rest)).toEqual(['date', 'device', 'node', 'shape']);
  expect(task).toMatchObject({
    batch: 4,
    recompute: 'block',
    dtype: 'bfloat16',
    moments: 'bfloat16',
    masterWeights: false,
  });
  expect(JSON.stringify(task)).not.toContain(folder); // no paths of this machine
  expect(runs.map(({ who }: { who: string }) => who.replace(/TensorFlow .+/, 'TensorFlow'))).toEqual([
    ...['ours, TensorFlow', 'PyTorch 9.9, eager', 'PyTorch 9.9, compile'],
  ]);
  const ratio = Number(/eager .* (\d+\.\d\d) x$/m.exec(stdout)?.[1]);
  expect(Math.abs(ratio / (runs[0].tokensPerSecond / runs[1].tokensPerSecond) - 1)).toBeLessThan(0.3); // of few digits
  expect(runs[1].mfu).toBeCloseTo((64_000 * (6 * 65_728 + 12 * 64 * 32)) / 989.5e12, 12);
});
