import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { builtModule, compileModule, libraryFiles, moduleOf, modulesFor } from '../src/setup/compile.ts';
import { SetupFailure } from '../src/setup/failure.ts';
import { pinsFor } from '../src/setup/wheels.ts';
import { compiler, enter, makeWorld } from './setup-world.ts';

/** A world that this process is in, with TensorFlow's libraries in a home and an empty staging folder. */
async function makeHome() {
  const world = enter(makeWorld());
  const [home, staging] = [join(world.folder, 'home'), join(world.folder, 'staging')];
  for (const made of [join(home, 'tensorflow'), staging]) mkdirSync(made, { recursive: true });
  for (const name of ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2', 'complete.json'])
    writeFileSync(join(home, 'tensorflow', name), '');
  return { world, home, staging, modules: await modulesFor(world.pins) };
}

test('a module keeps its file name while its sources and flags stay; other libraries give another', async () => {
  const [cpu, cuda] = [pinsFor('cpu', 'linux-x64'), pinsFor('cuda', 'linux-x64')];
  if (!cpu || !cuda) throw new Error('no wheels are pinned for Linux');
  const modules = await modulesFor(cpu);
  const files = Object.values(modules).map(({ file }) => file);
  for (const file of files) expect(file).toMatch(/^[a-z_]+-[0-9a-f]{12}\.node$/);
  expect(new Set(files).size).toBe(files.length);
  expect(await modulesFor(cpu)).toEqual(modules);
  expect(files).not.toContain((await modulesFor(cuda)).binding.file); // its search path has NVIDIA's folders
});

test("a module's file name changes with each source and header of its folders", async () => {
  const { folder } = enter(makeWorld());
  const folders = ['own', 'shared'].map((name) => join(folder, name));
  for (const path of folders) mkdirSync(path);
  const [source, shared, header] = ['own/a.cc', 'shared/b.cc', 'shared/b.h'].map((file) => join(folder, file));
  const files = [source, shared, header] as [string, string, string];
  for (const path of files) writeFileSync(path, '');
  writeFileSync(join(folder, 'shared', 'notes.txt'), ''); // no code: not compiled, not counted
  const module = () => moduleOf('name', 'a module', folders, ['-O2'], false);
  const first = await module();
  expect(first).toMatchObject({ title: 'a module', sources: [source, shared], flags: ['-O2'], usesTensorflow: false });
  const names = [first.file];
  for (const path of files) {
    writeFileSync(path, '// changed');
    names.push((await module()).file);
  }
  names.push((await moduleOf('name', 'a module', folders, ['-O3'], false)).file);
  expect(new Set(names).size).toBe(5);
  writeFileSync(join(folder, 'shared', 'notes.txt'), 'changed');
  expect((await module()).file).toBe(names[3]);
});

test('both modules for GPUs are compiled with the sources that they share', async () => {
  const pins = pinsFor('cuda', 'linux-x64');
  const { cuda, nccl } = pins ? await modulesFor(pins) : {};
  for (const module of [cuda, nccl]) {
    const names = module?.sources.map((path) => path.split('/').slice(-2).join('/'));
    expect(names).toContain('gpu/driver.cc');
    expect(new Set(names?.map((name) => name.split('/')[1])).size).toBe(names?.length); // objects lie in one folder
  }
});

test('sources are there, and flags name no folder of this machine: the cache can be moved', async () => {
  const { modules } = await makeHome();
  for (const { sources, flags } of Object.values(modules)) {
    expect(sources.length).toBeGreaterThan(0);
    for (const source of sources) expect(existsSync(source)).toBe(true);
    for (const flag of flags) expect(flag).not.toMatch(/^\/|[=,]\//);
  }
});

test('the framework is loaded first, and what is no library is left out', async () => {
  const { home } = await makeHome();
  expect((await libraryFiles(home)).map((path) => path.slice(home.length + 1))).toEqual([
    'tensorflow/libtensorflow_framework.so.2',
    'tensorflow/libtensorflow_cc.so.2',
  ]);
});

test('what is compiled is moved to its place, and an empty file there does not count', async () => {
  const { home, staging, modules } = await makeHome();
  const path = join(home, modules.binding.file);
  writeFileSync(path, '');
  expect(await builtModule(modules.binding, home)).toBe(undefined);
  await compileModule(modules.binding, 'g++', staging, home);
  expect(await builtModule(modules.binding, home)).toBe(path);
  expect(readFileSync(path, 'utf8')).toBe('compiled\n');
  expect(readdirSync(staging)).toEqual([]);
});

test("sources are compiled one by one, against the wheel's headers and Node's, then linked", async () => {
  const { world, home, staging, modules } = await makeHome();
  await compileModule(modules.binding, 'g++', staging, home);
  const lines = world.log();
  const link = lines.pop() ?? '';
  expect(lines).toHaveLength(modules.binding.sources.length);
  for (const source of modules.binding.sources) {
    const line = lines.find((one) => one.includes(` -c ${source} -o ${staging}/`)) ?? '';
    expect(line).toContain(` -I${home}/tensorflow/include `);
    expect(line).toMatch(/ -I\S+node-api-headers\/include /);
    expect(link).toContain(` ${line.split(' ').at(-1)} `); // what came of it
  }
  expect(link).toMatch(/\.node \S+libtensorflow_cc\.so\.2 \S+libtensorflow_framework\.so\.2$/);
});

test("the GPU's ops are compiled with NVIDIA's headers, and linked with none of its libraries", async () => {
  const { world, home, staging } = await makeHome();
  const pins = pinsFor('cuda', 'linux-x64');
  const { cuda } = pins ? await modulesFor(pins) : {};
  if (!cuda) throw new Error('there is no such module');
  await compileModule(cuda, 'g++', staging, home);
  const lines = world.log();
  expect(lines.pop()).not.toMatch(/ -l|libcud/);
  for (const line of lines) {
    expect(line).toMatch(/ -std=c\+\+20 .*native\/(cuda|gpu)\/\S+\.cc /);
    for (const folder of ['nvidia-cudnn-frontend/include', 'nvidia-cuda-crt/nvidia/cu13/include'])
      expect(line).toContain(` -I${home}/headers/${folder} `);
  }
});

test('after a source that does not compile no other is begun', async () => {
  const { world, home, staging, modules } = await makeHome();
  world.tool('g++', compiler('exit 1'));
  const sources = Array.from({ length: 40 }, (_, i) => `/none/${i}.cc`);
  await expect(compileModule({ ...modules.binding, sources }, 'g++', staging, home)).rejects.toThrow('g++ says');
  expect(world.log().length).toBeLessThanOrEqual(8 + 7); // those of each core, and one more of all but the first
});

test('a compiler that stops is quoted with its first error, and nothing half-made is used', async () => {
  const { world, home, staging, modules } = await makeHome();
  const errors = 'In file included from a.h\na.cc:1:2: error: no such type\na.cc:3:4: error: and another';
  world.tool('g++', compiler(`echo half > "$2"; echo "${errors}" >&2; exit 1`));
  await expect(compileModule(modules.binding, 'g++', staging, home)).rejects.toEqual(
    new SetupFailure('g++ says: a.cc:1:2: error: no such type'),
  );
  expect(await builtModule(modules.binding, home)).toBe(undefined);
  expect(readdirSync(home)).toEqual(['tensorflow']);
});
