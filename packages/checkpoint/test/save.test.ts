import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Parameter } from '@fourfold/ops';
import { spmd } from '@fourfold/process-group';
import { useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { type Found, findNewest, openCheckpoint, openSafetensors, Saver } from '../src/index.ts';
import { aboutStep, heldBy, newFolder, savedBy, saverOf } from './states.ts';

beforeAll(() => useBackend('cpu'));

test.each([
  { tp: 2, dp: 3 },
  { tp: 4, dp: 1 },
  { tp: 2, dp: 2, zero: true },
])('no element is written twice, and ranks write equally much: %j', async (cut) => {
  const folder = join(await savedBy(cut), 'step-000001');
  const sizes: number[] = [];
  for (const name of readdirSync(folder).filter((name) => name.endsWith('.safetensors'))) {
    const file = await openSafetensors(join(folder, name));
    sizes.push(file.names.reduce((sum, tensor) => sum + (file.info(tensor).shape[0] as number), 0));
    await file.close();
  }
  expect(sizes).toHaveLength(cut.tp * cut.dp);
  expect(sizes.reduce((a, b) => a + b)).toBe(3 * (72 + 120 + 120 + 7));
  expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(3 * 60); // a piece, of three kinds
});

test('a checkpoint keeps what was when it began, whatever is written there afterwards', async () => {
  const folder = newFolder();
  await spmd(1, async (world) => {
    const parameter = Parameter.of('w', tf.tensor1d([1, 2, 3]));
    const options = { folder, keep: 0, say: () => {}, parameters: [parameter] };
    const saver = await Saver.open(world, { ...options, stateOf: ({ value }) => ({ weight: value }) });
    await saver.save(aboutStep(1));
    parameter.value.dispose();
    parameter.value = tf.tensor1d([7, 8, 9]);
    await saver.save(aboutStep(2)); // completes the first
    expect(existsSync(join(folder, 'step-000002'))).toBe(false);
    await saver.close();
    for (const [step, expected] of [
      [1, [1, 2, 3]],
      [2, [7, 8, 9]],
    ] as const) {
      const file = await openSafetensors(join(folder, `step-00000${step}`, 'rank-0000.safetensors'));
      expect([...(await file.read('weight w all 0-3'))]).toEqual(expected);
      await file.close();
    }
  });
});

test('a rank says that its file is on the disk; nothing is visible before all commit', async () => {
  const folder = newFolder();
  const said: string[] = [];
  await spmd(2, async (world) => {
    const say = (line: string) => world.rank === 0 && said.push(line);
    const saver = await saverOf(world, { tp: 2, dp: 1 }, { folder, say });
    expect(saver.isWritten).toBe(false);
    await saver.save(aboutStep(5));
    while (!saver.isWritten) await new Promise((resolve) => setTimeout(resolve, 5));
    await world.barrier();
    expect(readdirSync(folder)).toEqual(['step-000005.partial']);
    await world.barrier();
    await saver.commit();
    expect(saver.isWritten).toBe(false);
    await saver.close();
    expect(readdirSync(folder)).toEqual(['step-000005']);
  });
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/^saved .*step-000005, 0\.0 MB$/);
});

/** Mounting needs rights that not everybody has. */
function mounted(folder: string, size: string): string | undefined {
  mkdirSync(folder, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return `no file system can be mounted here: ${error}`;
  }
}

test('a full disk: said, the last checkpoint stays, and the next is saved when there is room', async (context) => {
  const folder = newFolder();
  const reason = mounted(folder, '256k');
  if (reason) return context.skip(reason);
  const said: string[] = [];
  try {
    await spmd(2, async (world) => {
      const say = (line: string) => world.rank === 0 && said.push(line);
      const saver = await saverOf(world, { tp: 1, dp: 2 }, { folder, say });
      const save = async (step: number) => {
        await saver.save(aboutStep(step));
        await saver.commit();
      };
      const hog = join(folder, 'hog');
      await save(1);
      await world.barrier();
      const fill = () => {
        for (let size = 2 ** 17; size >= 1; size /= 2)
          while (true)
            try {
              writeFileSync(`${hog}-${Math.random()}`, Buffer.alloc(size));
            } catch {
              break;
            }
      };
      await saver.commit();
      if (world.rank === 0) fill();
      await world.barrier();
      await save(2);
      await saver.commit();
      await world.barrier();
      if (world.rank === 0) execFileSync('sh', ['-c', `rm ${hog}-*`]);
      await world.barrier();
      await save(3);
      await saver.close();
    });
    expect(readdirSync(folder).sort()).toEqual(['step-000001', 'step-000003']);
    expect(said).toHaveLength(3);
    expect(said[1]).toMatch(/step-000002 is not saved, and training goes on: rank \d: .*ENOSPC/);
    const [found] = await spmd(1, (world) => findNewest(world, folder, () => {}));
    const checkpoint = await openCheckpoint(found as Found);
    const [embed] = heldBy(0, { tp: 1, dp: 1 }, 'm');
    const tensor = await checkpoint.tensor('m', embed as Parameter, 'float32');
    expect(await tensor.data()).toEqual(await embed?.value.data());
    await checkpoint.close();
  } finally {
    execFileSync('umount', [folder]);
  }
});
