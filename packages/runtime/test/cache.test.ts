import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { cacheDirectory } from '../src/cache.ts';

afterEach(() => vi.unstubAllEnvs());

test('the folder given wins over FOURFOLD_CACHE, that over XDG_CACHE_HOME, and that over the home folder', () => {
  vi.stubEnv('FOURFOLD_CACHE', undefined);
  vi.stubEnv('XDG_CACHE_HOME', undefined);
  expect(cacheDirectory()).toBe(join(homedir(), '.cache/fourfold'));
  vi.stubEnv('XDG_CACHE_HOME', '/var/cache');
  expect(cacheDirectory()).toBe('/var/cache/fourfold');
  vi.stubEnv('FOURFOLD_CACHE', '/scratch/own');
  expect(cacheDirectory()).toBe('/scratch/own');
  expect(cacheDirectory('/given')).toBe('/given');
});

test('a relative folder is taken from where the program runs; in XDG_CACHE_HOME it does not count', () => {
  vi.stubEnv('FOURFOLD_CACHE', 'here');
  expect(cacheDirectory()).toBe(resolve('here'));
  vi.stubEnv('FOURFOLD_CACHE', '');
  vi.stubEnv('XDG_CACHE_HOME', 'relative');
  expect(cacheDirectory()).toBe(join(homedir(), '.cache/fourfold'));
});
