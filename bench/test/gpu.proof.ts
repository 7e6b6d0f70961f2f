/** The race against PyTorch on a GPU, run as a command where there is no PyTorch, and where a side fails. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, cellsOf, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const nano = ['gpu.ts', '--shape', 'nano', '--device', 'cpu', '--steps', '3'] as const;

test('without torch it says so and runs ours alone', async () => {
  const without = python(folder, 'without', 'exit 1', 'exit 1');
  const { code, stdout, stderr } = await bench(...nano, '--python', without, '--out', '');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, head, ours, note, ...more] = stdout.trimEnd().split('\n');
  expect(title).toBe('nano, 2 layers, 0.000 B parameters, batch 2, seq 32');
  expect(cellsOf(head)).toEqual(['ms', 'tok/s', 'MFU', 'memory', 'loss', 'ours is']);
  expect(ours).toMatch(/^ours, TensorFlow \S+ +\d+\.\d +\d+ +\d+ MB +\d\.\d{3}$/);
  expect(note).toBe(`${without} can't import torch: no comparison`);
  expect(more).toEqual([]);
});

test('a side that fails ends the command with what it said', async () => {
  const broken = python(folder, 'broken', 'exit 0', 'echo "out of memory" >&2; exit 1');
  const { code, stderr } = await bench(...nano, '--python', broken, '--out', join(folder, 'none'));
  expect(code).toBe(1);
  expect(stderr).toContain('out of memory');
  expect(existsSync(join(folder, 'none'))).toBe(false);
});
