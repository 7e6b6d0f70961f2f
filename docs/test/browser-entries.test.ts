import { build, type Metafile } from 'esbuild';
import { expect, test } from 'vitest';

// Of every package that a page uses, its entry as a bundler for browsers takes it. esbuild refuses what it can't
// resolve there, so an entry that needs Node fails by the name of the module that it needs.

const PACKAGES = [
  'process-group',
  'ops',
  'data',
  'metrics',
  'optim',
  'model',
  'data-parallel',
  'tensor-parallel',
  'pipeline-parallel',
  'context-parallel',
  'settings',
  'plan',
  'runtime',
  'runtime/page',
  'checkpoint',
  'inference',
  'run',
  'train',
];

/** Bundles a module of one line for browsers. tfjs's WebAssembly loader asks for Node's modules where it finds Node. */
async function bundle(contents: string): Promise<Metafile> {
  const { metafile } = await build({
    stdin: { contents, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    conditions: ['browser'],
    logLevel: 'silent',
    external: ['fs', 'path', 'perf_hooks', 'worker_threads', 'os', 'crypto'],
  });
  return metafile;
}

test.each(PACKAGES)('@fourfold/%s bundles for a browser, without anything of Node', async (name) => {
  const { inputs } = await bundle(`export * from '@fourfold/${name}'`);
  const ours = Object.keys(inputs).filter((path) => path.includes('packages/'));
  expect(ours.length).toBeGreaterThan(0);
  const outside = ours.flatMap((path) =>
    (inputs[path]?.imports ?? []).filter(({ external }) => external).map((one) => `${path} imports ${one.path}`),
  );
  expect(outside).toEqual([]);
});

test('what needs Node is refused, by name', async () => {
  await expect(bundle("export * from 'node:fs'")).rejects.toThrow('Could not resolve "node:fs"');
});
