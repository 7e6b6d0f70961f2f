import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-bench-'));
afterAll(() => rmSync(folder, { recursive: true }));
const script = fileURLToPath(new URL('../src/cpu.ts', import.meta.url));

const small = ['--shape', 'small', '--threads', '2', '--rounds', '1', '--steps', '5'];

/** Runs the command as a user does. */
function bench(...flags: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', script, ...flags]);
  const said = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
    });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, ...said })));
}

/** A stand-in for Python: a shell script that is run as `python3 -c 'import torch'` and as `python3 torch_step.py`. */
function python(name: string, onImport: string, onStep: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\nif [ "$1" = -c ]; then ${onImport}; else ${onStep}; fi\n`);
  chmodSync(path, 0o755);
  return path;
}

test('without torch it says so, and prints our time and where it goes', async () => {
  const without = python('without', 'exit 1', 'exit 1');
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
  expect(rows.map((row) => row?.[1])).toEqual(expect.arrayContaining(['MatMul', 'ResourceApplyAdam', 'JavaScript']));
  const percent = rows.reduce((sum, row) => sum + Number(row?.[4]), 0);
  expect(Math.abs(percent - 100)).toBeLessThan(0.7); // 12 rows, each rounded to a tenth
});

test('PyTorch gets the same shape and threads, and the ratio is its median over ours', async () => {
  const input = join(folder, 'input.json');
  const milliseconds = [2000, 5000, 1, 2, 3000]; // median 2000
  const reply = JSON.stringify({ version: '9.9', milliseconds });
  const fake = python('fake', 'exit 0', `cat > '${input}'; echo '${reply}'`);
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
  const broken = python('broken', 'exit 0', 'echo "no such device" >&2; exit 1');
  const { code, stderr } = await bench(...small, '--python', broken);
  expect(code).toBe(1);
  expect(stderr).toContain("PyTorch's step failed: no such device");
});

test('too few steps for a median are refused before anything is timed', async () => {
  const stderr = 'rounds=2 times steps=2 is too few for a median: use 5 in all\n';
  expect(await bench('--rounds', '2', '--steps', '2')).toEqual({ code: 2, stdout: '', stderr });
});
