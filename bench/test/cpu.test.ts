import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const small = ['cpu.ts', '--shape', 'small', '--threads', '2', '--rounds', '1', '--steps', '5'] as const;

test('without torch it says so, and prints our time and where it goes', async () => {
  const without = python(folder, 'without', 'exit 1', 'exit 1');
  const { code, stdout, stderr } = await bench(...small, '--python', without);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toMatch(/, TensorFlow \S+ on 2 CPU threads$/);
  expect(lines.slice(1, 6)).toEqual([
    '',
    'small: 1.0 M parameters, batch 8, seq 128',
    expect.stringMatching(/^ {2}ours, float32 +\d+\.\d ms +\d+ tok\/s$/),
    `  ${without} can't import torch: no comparison`,
    '  one step, op by op:',
  ]);
  const rows = lines.slice(6).map((line) => /^ {4}(\w+(?: \w+)?) +(\d+)? +(\d+\.\d) ms +(\d+\.\d) %$/.exec(line));
  expect(rows.map((row) => row?.[1])).toEqual(expect.arrayContaining(['MatMul', 'FourfoldAdamW', 'JavaScript']));
  const percent = rows.reduce((sum, row) => sum + Number(row?.[4]), 0);
  expect(Math.abs(percent - 100)).toBeLessThan(0.7); // 12 rows, each rounded to a tenth
});

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

test("where PyTorch's step fails, so does the command, with what Python said", async () => {
  const broken = python(folder, 'broken', 'exit 0', 'echo "no such device" >&2; exit 1');
  const { code, stderr } = await bench(...small, '--python', broken);
  expect(code).toBe(1);
  expect(stderr).toContain("PyTorch's step failed: no such device");
});

test('too few steps for a median are refused before anything is timed', async () => {
  const stderr = 'rounds=2 times steps=2 is too few for a median: use 5 in all\n';
  expect(await bench('cpu.ts', '--rounds', '2', '--steps', '2')).toEqual({ code: 2, stdout: '', stderr });
});
