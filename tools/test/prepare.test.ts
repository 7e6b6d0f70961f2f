import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { explainInstall, nodeProblem, packagesAreCurrent, packagesToFetch } from '../prepare.mjs';

test.each(['20.19.0', '20.20.2', '22.12.0', '22.21.1', '24.0.0', '25.2.0', '26.0.0'])('Node %s will do', (version) => {
  expect(nodeProblem(version)).toBeUndefined();
});

test.each(['18.20.8', '20.18.3', '21.7.3', '22.11.0', '23.11.1'])(
  'Node %s will not, and the sentence says which would',
  (version) => {
    expect(nodeProblem(version)).toBe(
      `Node ${version} can't run Fourfold: use 20.19 or later of line 20, 22.12 or later of line 22, or 24 to 26.`,
    );
  },
);

test('a Node that nobody tried is called that', () => {
  expect(nodeProblem('28.1.0')).toMatch(/^Node 28\.1\.0 is newer than any that Fourfold was tried on: use /);
});

test('packages are current only while the stamp holds the hash of the lock file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-prepare-'));
  const lock = join(folder, 'package-lock.json');
  const stamp = join(folder, 'node_modules', '.fourfold-lock');
  try {
    expect(packagesAreCurrent(folder)).toBe(false);
    writeFileSync(lock, 'abc');
    expect(packagesAreCurrent(folder)).toBe(false);
    mkdirSync(join(folder, 'node_modules'));
    writeFileSync(stamp, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'); // sha256 of abc
    expect(packagesAreCurrent(folder)).toBe(true);
    writeFileSync(lock, 'abd');
    expect(packagesAreCurrent(folder)).toBe(false);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('of the lock file only what fits this platform is counted, and no link', () => {
  const packages = {
    '': {},
    'packages/ops': {},
    'node_modules/@fourfold/ops': { link: true },
    'node_modules/a': {},
    'node_modules/a/node_modules/b': {},
    'node_modules/c-linux-x64': { os: ['linux'], cpu: ['x64'] },
    'node_modules/c-linux-arm64': { os: ['linux'], cpu: ['arm64'] },
    'node_modules/c-win32-x64': { os: ['win32'], cpu: ['x64'] },
  };
  expect(packagesToFetch({ packages }, 'linux', 'x64')).toBe(3);
});

test('a failed installation is one sentence where the cause is known, and npm in its own words where not', () => {
  expect(explainInstall('npm error code ENOTFOUND\nnpm error errno ENOTFOUND\n')).toBe(
    "The package registry can't be reached (ENOTFOUND): connect to the network, or name a mirror with " +
      '`npm config set registry URL`, and start again.',
  );
  expect(explainInstall('npm error ENOSPC: no space left on device')).toMatch(/^The disk is full/);
  expect(explainInstall('npm http fetch GET 200 x\nnpm warn old\nnpm error code EUSAGE\n\nnpm error why\n')).toBe(
    'npm ci failed:\nnpm error code EUSAGE\nnpm error why',
  );
});

/** Starts a script through runNode, as `npm start` starts the training, and returns the exit code and what was said. */
function runScript(script: string, signal?: NodeJS.Signals): Promise<{ code: number | null; output: string }> {
  const helper = new URL('../prepare.mjs', import.meta.url).href;
  const run = `process.exitCode = await runNode(['-e', ${JSON.stringify(script)}]);`;
  const program = `import { runNode } from '${helper}'; ${run}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    if (signal && text.includes('ready')) child.kill(signal);
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })));
}

test("a child's exit code is passed on", async () => {
  expect(await runScript('process.exit(7)')).toEqual({ code: 7, output: '' });
});

test('a child that a signal ends gives 128 + its number', async () => {
  expect((await runScript('process.kill(process.pid, "SIGKILL")')).code).toBe(137);
});

test.each(['SIGTERM', 'SIGINT'] as const)('%s reaches the child, which may end in its own time', async (signal) => {
  const script = `
    process.on('${signal}', () => setTimeout(() => { console.log('saved'); process.exit(3); }, 50));
    setInterval(() => {}, 1000);
    console.log('ready');`;
  expect(await runScript(script, signal)).toEqual({ code: 3, output: 'ready\nsaved\n' });
});
