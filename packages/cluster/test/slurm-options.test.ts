import { settings } from '@fourfold/settings';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { changedOptions, jobOptions, resourcesOf } from '../src/slurm/options.ts';

const resources = (config: object, options: object = {}) =>
  resourcesOf(settings.parse(config), jobOptions.parse(options));

test('ranks fill nodes, each with a GPU', () => {
  expect(resources({})).toEqual({ nodes: 1, ranks: 1, ranksPerNode: 1, gpusPerNode: 1 });
  expect(resources({ dp: 4, tp: 4 })).toEqual({ nodes: 2, ranks: 16, ranksPerNode: 8, gpusPerNode: 8 });
  expect(resources({ dp: 3, pp: 2 })).toEqual({ nodes: 1, ranks: 6, ranksPerNode: 6, gpusPerNode: 6 });
  expect(resources({ dp: 3, pp: 4 }, { ranksPerNode: 4 })).toEqual({
    ...{ nodes: 3, ranks: 12, ranksPerNode: 4, gpusPerNode: 4 },
  });
  for (const options of [{ device: 'cpu' }, { device: 'wasm' }]) expect(resources(options).gpusPerNode).toBe(0);
  expect(resources({}, { gpus: false }).gpusPerNode).toBe(0);
});

test('ranks that can not be spread evenly are a sentence with numbers that would do', () => {
  expect(() => resources({ dp: 12 })).toThrow('ranksPerNode=8 does not divide 12 ranks: use 1, 2, 3, 4, 6, 12');
});

test('a text that Slurm would read otherwise is refused before it is written', () => {
  const errorOf = (options: object): string | undefined => jobOptions.safeParse(options).error?.issues[0]?.message;
  expect(errorOf({ time: '0:99x' })).toBe('--time 0:99x: use minutes, or H:MM:SS, or D-HH:MM:SS');
  expect(errorOf({ partition: 'a b' })).toBe('--partition a b: use one word as Slurm takes it, such as main');
  for (const value of ['--hold', 'a\n#SBATCH --hold', "a'b", 'a"b', 'a\\b', 'a #b', ''])
    for (const key of ['mem', 'partition', 'qos', 'account', 'constraint', 'exclude', 'dependency'])
      expect(errorOf({ [key]: value })).toMatch(`--${key} ${value}: use one word`);
  for (const time of ['30', '90:00', '12:00:00', '1-12', '1-12:30', '1-12:30:00'])
    expect(errorOf({ time })).toBeUndefined();
  for (const dependency of ['afterok:123', 'afterok:20:21,afterany:22', 'afterok:20?afterany:22', 'singleton'])
    expect(errorOf({ dependency })).toBeUndefined();
  expect(errorOf({ exclude: 'node[3-5],node9', constraint: 'h100&ib', mem: '1.5T' })).toBeUndefined();
});

test('no line of a script can be made by a value', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (value) => {
      if (jobOptions.safeParse({ partition: value }).success) expect(value).not.toMatch(/[\s\0'"\\#$`]/);
    }),
  );
});

test('of changed options, those that are not given stay what they were', () => {
  expect(changedOptions.parse({})).toEqual({});
  expect(changedOptions.parse({ mem: '8G' })).toEqual({ mem: '8G' });
  expect(changedOptions.shape['time']?.meta()).toEqual(jobOptions.shape.time.meta());
});
