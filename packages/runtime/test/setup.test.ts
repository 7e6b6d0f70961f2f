/** Set-ups that succeed: alone, twice, side by side, after a crash, and from a cache that can't be written. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findTensorflow, type Installed, type Missing } from '../src/setup/index.ts';
import { homeOf } from '../src/setup/layout.ts';
import { asOrdinaryUser, makeWorld, pip, realPip, setUpIn, type World } from './setup-world.ts';

const home = (world: World) => homeOf(world.cache, 'cpu', world.pins);
const runs = (world: World, what: RegExp) => world.log().filter((line) => what.test(line)).length;

function ready(result: Installed | Missing): Installed {
  if ('reason' in result) throw new Error(result.reason);
  return result;
}

test('a first set-up leaves the libraries, the headers and three modules, and nothing else', async () => {
  const world = makeWorld();
  world.tool('python3', realPip);
  const { output, result } = await setUpIn(world, { env: { PIP_NO_INDEX: '1', PIP_FIND_LINKS: world.index } });
  const found = ready(result);
  expect(found).toMatchObject({ variant: 'cpu', version: '2.21.0' });
  expect(readFileSync(found.binding, 'utf8')).toBe('compiled\n');
  expect(readFileSync(found.addon, 'utf8')).toBe('compiled\n');
  expect(readFileSync(found.ops, 'utf8')).toBe('compiled\n');
  expect(readFileSync(join(found.include, 'tensorflow/c/c_api.h'), 'utf8')).toBe('// the C interface');
  expect(found.libraries.map((path) => path.split('/').at(-1))).toEqual([
    'libtensorflow_framework.so.2',
    'libtensorflow_cc.so.2',
  ]);
  expect(readdirSync(world.cache)).toEqual([home(world).split('/').at(-1)]);
  expect(readdirSync(home(world)).map((name) => name.replace(/-.*/, ''))).toEqual([
    'fourfold_addon',
    'fourfold_ops',
    'tensorflow',
    'tfjs_binding',
  ]);
  expect(readdirSync(join(home(world), 'tensorflow')).sort()).toEqual([
    'complete.json',
    'include',
    'libtensorflow_cc.so.2',
    'libtensorflow_framework.so.2',
  ]);
  expect(
    output
      .replaceAll(/[\d.]+ s$/gm, '... s')
      .split('\n')
      .slice(3),
  ).toEqual([
    '  done in ... s',
    'Downloading tensorflow-cpu 2.21.0 (1 MB)',
    '  done in ... s',
    'Extracting tensorflow-cpu 2.21.0 (1 MB)',
    '  done in ... s',
    "Compiling tfjs-node-gpu's binding",
    '  done in ... s',
    "Compiling Fourfold's addon",
    '  done in ... s',
    "Compiling Fourfold's fused ops",
    '  done in ... s',
  ]);
});

test('a second set-up runs no program, prints nothing and takes less than a second', async () => {
  const world = makeWorld();
  const first = await setUpIn(world);
  const used = world.log().length;
  const second = await setUpIn(world);
  expect(second.result).toEqual(ready(first.result));
  expect(second.output).toBe('');
  expect(second.milliseconds).toBeLessThan(1000);
  expect(world.log()).toHaveLength(used);
  expect(await findTensorflow({ cache: world.cache, variant: 'cpu', pins: world.pins })).toEqual(first.result);
});

test('of two set-ups at once one works and the other waits and says so', async () => {
  const world = makeWorld();
  world.tool('python3', pip(`sleep 1; cp '${world.index}'/*.whl "$dest"`));
  const both = await Promise.all([setUpIn(world), setUpIn(world)]);
  expect(both[0].result).toEqual(ready(both[1].result));
  expect(runs(world, /pip download/)).toBe(1);
  expect(runs(world, /g\+\+ -O2 (?!.* -c )/)).toBe(3); // links: the binding, the addon and the fused ops
  const waited = both.filter(({ output }) =>
    /^Another set-up \(process \d+\) is at work: waiting for it\.$/.test(output),
  );
  expect(waited).toHaveLength(1);
});

test('the lock of a process that is gone is taken away at once', async () => {
  const world = makeWorld();
  const pid = Number(execFileSync(process.execPath, ['-p', 'process.pid'], { encoding: 'utf8' }));
  mkdirSync(home(world), { recursive: true });
  writeFileSync(join(home(world), 'lock'), JSON.stringify({ pid, host: hostname() }));
  const { output, result, milliseconds } = await setUpIn(world);
  ready(result);
  expect(output).not.toMatch(/waiting/);
  expect(milliseconds).toBeLessThan(10_000);
  expect(existsSync(join(home(world), 'lock'))).toBe(false);
});

test('a set-up that is killed while it downloads leaves nothing that the next one trips over', async () => {
  const world = makeWorld();
  const begun = join(world.folder, 'begun');
  world.tool('python3', pip(`echo half > "$dest"/half.whl; touch '${begun}'; sleep 2`));
  const killed = await setUpIn(world, {
    onStart: (kill) => {
      const timer = setInterval(() => {
        if (!existsSync(begun)) return;
        clearInterval(timer);
        kill();
      }, 20);
    },
  });
  expect(killed.code).toBe(null);
  expect(readdirSync(world.cache).filter((name) => name.includes('.making-'))).toHaveLength(1);
  expect(existsSync(join(home(world), 'tensorflow'))).toBe(false);

  world.tool('python3', pip(`cp '${world.index}'/*.whl "$dest"`));
  ready((await setUpIn(world)).result);
  expect(readdirSync(world.cache)).toEqual([home(world).split('/').at(-1)]);
});

test('a library that was cut short afterwards is noticed and replaced', async () => {
  const world = makeWorld();
  const { libraries, include } = ready((await setUpIn(world)).result);
  truncateSync(libraries[1] ?? '', 100);
  const search = { cache: world.cache, variant: 'cpu' as const, pins: world.pins };
  expect(await findTensorflow(search)).toHaveProperty('reason');
  ready((await setUpIn(world)).result);
  expect(await findTensorflow(search)).toMatchObject({ include });
  expect(runs(world, /pip download/)).toBe(2);
  expect(runs(world, /g\+\+ -O2 (?!.* -c )/)).toBe(3); // what was compiled is still good
});

test('a complete cache that can not be written is used', async () => {
  const world = makeWorld();
  const first = await setUpIn(world);
  for (const folder of [home(world), world.cache]) chmodSync(folder, 0o555);
  const second = await setUpIn(world, { under: asOrdinaryUser() });
  for (const folder of [home(world), world.cache]) chmodSync(folder, 0o755);
  expect(second.result).toEqual(ready(first.result));
});
