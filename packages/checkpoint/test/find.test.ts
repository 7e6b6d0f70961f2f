import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { spmd } from '@fourfold/process-group';
import { UserError } from '@fourfold/runtime';
import { useBackend } from '@fourfold/runtime/testing';
import { beforeAll, expect, test } from 'vitest';
import { checkNothingLater, findAt, findNewest } from '../src/index.ts';
import { newFolder, savedBy } from './states.ts';

beforeAll(() => useBackend('cpu'));

/** Three equal checkpoints by two ranks, of steps 1 to 3 by their manifests. */
async function three(): Promise<string> {
  const folder = await savedBy({ tp: 2, dp: 1 });
  for (const step of [2, 3]) {
    cpSync(join(folder, 'step-000001'), join(folder, `step-00000${step}`), { recursive: true });
    const manifest = join(folder, `step-00000${step}`, 'checkpoint.json');
    writeFileSync(manifest, JSON.stringify({ ...JSON.parse(readFileSync(manifest, 'utf8')), step }));
  }
  return folder;
}

/** The step that ranks begin at, each of them the same, and what was said. */
async function found(folder: string, ranks = 2): Promise<[step: number | undefined, said: string[]]> {
  const said: string[] = [];
  const steps = await spmd(ranks, async (world) => {
    const one = await findNewest(world, folder, (line) => world.rank === 0 && said.push(line));
    return one?.manifest.step;
  });
  expect(new Set(steps).size).toBe(1);
  return [steps[0], said];
}

test('the newest; none where there is none', async () => {
  expect(await found(await three())).toEqual([3, []]);
  expect(await found(newFolder())).toEqual([undefined, []]);
});

const damages: Record<string, (path: string) => void> = {
  'a byte of a file changed': (path) => {
    const file = join(path, 'rank-0001.safetensors');
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1;
    writeFileSync(file, bytes);
  },
  'a file is cut off': (path) => truncateSync(join(path, 'rank-0000.safetensors'), 100),
  'a file is gone': (path) => rmSync(join(path, 'rank-0001.safetensors')),
  'the manifest is cut off': (path) => truncateSync(join(path, 'checkpoint.json'), 100),
  'the manifest is gone': (path) => rmSync(join(path, 'checkpoint.json')),
};

test.each(Object.keys(damages))(
  '%s: passed over with a sentence, set aside, and the one before is taken',
  async (name) => {
    const folder = await three();
    damages[name]?.(join(folder, 'step-000003'));
    const [step, said] = await found(folder, 3);
    expect(step).toBe(2);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/step-000003 is passed over: /);
    expect(readdirSync(folder).sort()).toEqual(['step-000001', 'step-000002', 'step-000003.damaged']);
  },
);

test('one that is named is taken or refused, and stays where it is', async () => {
  const folder = await three();
  const at = (path: string) => spmd(1, (world) => findAt(world, path, () => {}));
  expect((await at(join(folder, 'step-000002')))[0]?.manifest.step).toBe(2);
  damages['a file is gone']?.(join(folder, 'step-000003'));
  expect((await at(folder))[0]?.manifest.step).toBe(2);
  expect(readdirSync(folder)).toContain('step-000003');
  await expect(at(join(folder, 'step-000003'))).rejects.toThrow(/^resume=.*rank-0001.safetensors can't be read/);
  await expect(at(newFolder())).rejects.toThrow(UserError);
});

test('a folder with later checkpoints is not trained into', async () => {
  const folder = await three();
  const check = (step: number) => spmd(2, (world) => checkNothingLater(world, folder, step));
  await check(3);
  await expect(check(2)).rejects.toThrow(/holds step-000003 already/);
  await expect(check(2)).rejects.toBeInstanceOf(UserError);
});
