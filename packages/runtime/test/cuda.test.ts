import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { cudaSources, loadCuda } from '../src/cuda.ts';
import { modulesFor } from '../src/setup/compile.ts';
import { findTensorflow } from '../src/setup/index.ts';
import { pinsFor } from '../src/setup/wheels.ts';

test('it is a module of CUDA alone: who has none need not wait for it', async () => {
  const [cpu, cuda] = [pinsFor('cpu', 'linux-x64'), pinsFor('cuda', 'linux-x64')];
  if (!cpu || !cuda) throw new Error('no wheels are pinned for Linux');
  expect((await modulesFor(cpu)).cuda).toBe(undefined);
  expect((await modulesFor(cuda)).cuda?.flags).toContain('-Wl,-rpath,$ORIGIN/nvidia/cuda_nvrtc/lib');
});

test('TensorFlow for the CPU has no such module', async () => {
  const found = await findTensorflow({ variant: 'cpu' });
  if ('reason' in found) throw new Error(found.reason);
  expect(loadCuda(found)).toBe(undefined);
});

test('the module learns where the .cu files are, and keeps what it makes of them in the cache', async () => {
  const found = await findTensorflow({ variant: 'cpu' });
  if ('reason' in found) throw new Error(found.reason);
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-cuda-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'module.cjs'); // stands for the compiled one
  writeFileSync(path, 'exports.configure = (...given) => { exports.given = given; };');
  expect(loadCuda({ ...found, cuda: path, home: '/cache' })).toMatchObject({ given: [cudaSources, '/cache/kernels'] });
  expect(existsSync(join(cudaSources, 'types.cuh'))).toBe(true);
});
