import { expect, test } from 'vitest';
import { modulesFor } from '../src/setup/compile.ts';
import { pinsFor } from '../src/setup/wheels.ts';

test('it is a module of CUDA alone: who has none need not wait for it', async () => {
  const [cpu, cuda] = [pinsFor('cpu', 'linux-x64'), pinsFor('cuda', 'linux-x64')];
  if (!cpu || !cuda) throw new Error('no wheels are pinned for Linux');
  expect((await modulesFor(cpu)).nccl).toBe(undefined);
  expect((await modulesFor(cuda)).nccl?.flags).toContain('-Wl,-rpath,$ORIGIN/nvidia/nccl/lib');
});
