import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const small = ['cpu.ts', '--shape', 'small', '--threads', '2', '--rounds', '1', '--steps', '5'] as const;

test('PyTorch gets the same shape and threads, and the ratio is its median over ours', async () => {
  const input = join(folder, 'input.json');
  const milliseconds = [2000, 5000, 1, 2, 3000]; // median 2000
  const reply = JSON.stringify({ version: '9.9', milliseconds });
  const fake = python(folder, 'fake', 'exit 0', `cat > '${input}'; echo '${reply}'`);
  const { code, stdout } = await bench(...small, '--python', fake, '--dtype', 'bfloat16');
  expect(code).toBe(0);
  expect(JSON.parse(readFileSync(input, 'utf8'))).toMatchObject({
    ...{ layers: 4, dim: 128, heads: 4, ffn: 384, vocabulary: 512, batch: 8, seq: 128 },
    ...{ threads: 2, steps: 5, dtype: 'float32' },
  });
  expect(stdout).toMatch(/^ {2}PyTorch 9\.9, float32 +2000\.0 ms +512 tok\/s$/m); // 8 x 128 tokens in 2 s
  const ours = Number(/ours, bfloat16 +(\d+\.\d) ms/.exec(stdout)?.[1]);
  const ratio = Number(/ours is (\d+\.\d\d) times as fast \(medians of 5 steps\)/.exec(stdout)?.[1]);
  expect(Math.abs((ratio * ours) / 2000 - 1)).toBeLessThan(0.01); // both are rounded
});

test('too few steps for a median are refused before anything is timed', async () => {
  const stderr = 'rounds=2 times steps=2 is too few for a median: use 5 in all\n';
  expect(await bench('cpu.ts', '--rounds', '2', '--steps', '2')).toEqual({ code: 2, stdout: '', stderr });
});
