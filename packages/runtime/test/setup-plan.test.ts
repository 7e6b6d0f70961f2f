import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { SetupFailure } from '../src/setup/failure.ts';
import { publish } from '../src/setup/layout.ts';
import { isReady, planFor } from '../src/setup/plan.ts';
import type { CudaWheel } from '../src/setup/wheels.ts';
import { enter, makeWorld } from './setup-world.ts';

test('an empty cache misses all, and a plan changes nothing', async () => {
  const { cache, pins } = makeWorld();
  const plan = await planFor('cpu', cache, pins);
  expect(plan.missingParts.map(({ wheel }) => wheel)).toEqual([pins.tensorflow]);
  expect(plan.missingModules).toEqual(Object.values(plan.modules));
  expect(isReady(plan)).toBe(false);
  expect(await planFor('cpu', cache, pins)).toEqual(plan);
});

test('what is there is not missing, until nothing is', async () => {
  const { cache, pins, folder } = makeWorld();
  const { home, modules, missingParts } = await planFor('cpu', cache, pins);
  for (const part of missingParts) {
    mkdirSync(join(folder, part.place));
    await publish(part, folder, home);
  }
  const files = Object.values(modules).map(({ file }) => file);
  for (const [i, file] of files.entries()) {
    const plan = await planFor('cpu', cache, pins);
    expect(plan.missingParts).toEqual([]);
    expect(plan.missingModules.map((module) => module.file)).toEqual(files.slice(i));
    expect(isReady(plan)).toBe(false);
    writeFileSync(join(home, file), 'compiled');
  }
  expect(isReady(await planFor('cpu', cache, pins))).toBe(true);
});

test("of NVIDIA's libraries only those are wanted that the system's loader does not find", async () => {
  const world = enter(makeWorld());
  world.tool('ldconfig', 'echo "	libcudnn.so.9 (libc6,x86-64) => /lib/libcudnn.so.9"');
  vi.stubEnv('LD_LIBRARY_PATH', '');
  const wheelOf = (folder: 'cudnn' | 'nccl', soname: string): CudaWheel => {
    return { ...world.pins.tensorflow, folder, soname, group: folder };
  };
  const pins = { ...world.pins, cuda: [wheelOf('cudnn', 'libcudnn.so.9'), wheelOf('nccl', 'libnccl.so.2')] };
  const { missingParts } = await planFor('cuda', world.cache, pins);
  expect(missingParts.map(({ place }) => place)).toEqual(['tensorflow', 'nvidia/nccl']);
});

test('a machine that TensorFlow is not published for is told so', async () => {
  vi.stubGlobal('process', Object.create(process, { platform: { value: 'linux' }, arch: { value: 'riscv64' } }));
  onTestFinished(() => {
    vi.unstubAllGlobals();
  });
  await expect(planFor('cpu', '/cache')).rejects.toEqual(
    new SetupFailure('TensorFlow 2.21.0 for CPU is not published for linux-riscv64'),
  );
});
