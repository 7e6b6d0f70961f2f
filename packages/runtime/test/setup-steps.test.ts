import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isWhole } from '../src/setup/layout.ts';
import { isReady, planFor } from '../src/setup/plan.ts';
import { carryOut } from '../src/setup/steps.ts';
import { compiler, enter, makeWorld, silent } from './setup-world.ts';

/** A world that this process is in, with the plan for an empty cache. */
async function makePlan() {
  const world = enter(makeWorld());
  const plan = await planFor('cpu', world.cache, world.pins);
  mkdirSync(plan.home, { recursive: true });
  return { world, plan, again: () => planFor('cpu', world.cache, world.pins) };
}

test('a plan that is carried out is ready, and carrying it out again runs and says nothing', async () => {
  const { world, plan, again } = await makePlan();
  await carryOut(plan, silent);
  const ready = await again();
  expect(isReady(ready)).toBe(true);
  const used = world.log().length;
  await carryOut(ready, { write: (text) => expect.unreachable(text) });
  expect(world.log()).toHaveLength(used);
});

test('what a crash of the same set-up left is cleared; what another one is making is not', async () => {
  const { world, plan } = await makePlan();
  const [left, other] = [`${plan.home}.making-a1b2c3`, join(world.cache, 'tensorflow-2.21.0-other.making-d4e5f6')];
  for (const folder of [left, other]) mkdirSync(join(folder, 'download'), { recursive: true });
  await carryOut(plan, silent);
  expect(existsSync(left)).toBe(false);
  expect(existsSync(join(other, 'download'))).toBe(true);
  expect(readdirSync(world.cache)).toHaveLength(2);
});

test('a disk with too little room: said before anything is downloaded', async () => {
  const { world, plan } = await makePlan();
  const huge = plan.missingParts.map((part) => ({ ...part, wheel: { ...part.wheel, unpacked: 1e18 } }));
  await expect(carryOut({ ...plan, missingParts: huge }, silent)).rejects.toThrow(
    /^looking at this machine failed: .* has [\d.]+ GB free, and 1000000000\.0 GB are needed$/,
  );
  expect(world.log().filter((line) => line.includes('download'))).toEqual([]);
});

test('a step that fails is named and ends the set-up; the steps before it are kept, its leavings are not', async () => {
  const { world, plan, again } = await makePlan();
  world.tool('g++', compiler('echo half > "$2"; echo "a.cc:1:2: error: no such type" >&2; exit 1'));
  const lines: string[] = [];
  await expect(carryOut(plan, { write: (text) => lines.push(text) })).rejects.toThrow(
    `compiling ${plan.missingModules[0]?.title} failed: g++ says: a.cc:1:2: error: no such type`,
  );
  expect(lines.at(-1)).toBe(`Compiling ${plan.missingModules[0]?.title}\n`);
  for (const part of plan.missingParts) expect(await isWhole(part, plan.home)).toBe(true);
  expect((await again()).missingModules).toEqual(plan.missingModules);
  expect(readdirSync(world.cache)).toHaveLength(1);
});
