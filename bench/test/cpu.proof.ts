/** The race against PyTorch on the CPU, run as a command where there is no PyTorch, and where its step fails. */
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

test("where PyTorch's step fails, so does the command, with what Python said", async () => {
  const broken = python(folder, 'broken', 'exit 0', 'echo "no such device" >&2; exit 1');
  const { code, stderr } = await bench(...small, '--python', broken);
  expect(code).toBe(1);
  expect(stderr).toContain("PyTorch's step failed: no such device");
});
