/**
 * A small world for testing set-up: a cache folder, a wheel of a few bytes, and a PATH with only the tools that a test
 * puts there. Whole set-ups run in it as real processes; single functions run in the test's own process, inside it.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished, vi } from 'vitest';
import type { Screen } from '../src/progress.ts';
import type { Installed, Missing } from '../src/setup/index.ts';
import type { Pins } from '../src/setup/wheels.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const PYTHON = execFileSync('python3', ['-c', 'import sys; print(sys.executable)'], { encoding: 'utf8' }).trim();
const WHEEL = 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl';

/** What a set-up process gave. */
export interface Outcome {
  readonly code: number | null;
  /** All it printed, without the last line. */
  readonly output: string;
  /** What setUp returned. */
  readonly result: Installed | Missing;
  /** Milliseconds that setUp took, without the start of the process. */
  readonly milliseconds: number;
}

export interface World {
  readonly folder: string;
  readonly cache: string;
  /** The folder that stands for the package index. */
  readonly index: string;
  readonly pins: Pins;
  /** Puts a shell script on the PATH. */
  tool(name: string, script: string): void;
  /** Takes a tool away. */
  remove(name: string): void;
  /** The command lines that tools were run with. */
  log(): string[];
}

/** Makes a world with a wheel, a pip that copies it, and a g++ that writes its output file; gone after the test. */
export function makeWorld(): World {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-setup-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const [bin, index, log] = [join(folder, 'bin'), join(folder, 'index'), join(folder, 'log')];
  for (const made of [bin, index]) mkdirSync(made);
  writeFileSync(log, '');
  const world: World = {
    folder,
    cache: join(folder, 'cache'),
    index,
    pins: makeWheel(index),
    tool(name, script) {
      writeFileSync(join(bin, name), `#!/bin/sh\nPATH=/usr/bin:/bin\necho "${name} $*" >> '${log}'\n${script}\n`);
      chmodSync(join(bin, name), 0o755);
    },
    remove: (name) => rmSync(join(bin, name)),
    log: () => readFileSync(log, 'utf8').split('\n').filter(Boolean),
  };
  world.tool('python3', pip(`cp '${index}'/*.whl "$dest"`));
  world.tool('g++', compiler('echo compiled > "$2"'));
  return world;
}

/** Gives this process a PATH with the world's tools alone until the test ends. */
export function enter(world: World): World {
  vi.stubEnv('PATH', join(world.folder, 'bin'));
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  return world;
}

/** For a test that does not look at what is written. */
export const silent: Screen = { write: () => undefined };

/** A python3 whose `pip download` does as told, with the folder to write to in $dest; all else is the real one. */
export const pip = (download: string): string => `
case "$*" in
  "-m pip --version") echo "pip 23.2.1 from here" ;;
  "-m pip download"*)
    while [ "$1" != --dest ]; do shift; done
    dest="$2"
    ${download} ;;
  *) exec '${PYTHON}' "$@" ;;
esac`;

/** The real python3 with the real pip. */
export const realPip = `exec '${PYTHON}' "$@"`;

/** A g++ that does as told, with the output file in $2. */
export const compiler = (compile: string): string => `
if [ "$1" = --version ]; then echo "g++ 12"; exit; fi
while [ "$1" != -o ]; do shift; done
${compile}`;

/** Zips a wheel with two libraries, a header, a Python file that nobody needs, and what pip asks of a wheel. */
function makeWheel(index: string): Pins {
  const files = {
    'tensorflow/libtensorflow_cc.so.2': 'all the kernels '.repeat(65_536), // 1 MB
    'tensorflow/libtensorflow_framework.so.2': 'the framework',
    'tensorflow/include/tensorflow/c/c_api.h': '// the C interface',
    'tensorflow/python/keras.py': 'raise ImportError',
    'tensorflow_cpu-2.21.0.dist-info/METADATA': 'Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: 2.21.0\n',
    'tensorflow_cpu-2.21.0.dist-info/WHEEL': 'Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_27_x86_64\n',
    'tensorflow_cpu-2.21.0.dist-info/RECORD': '',
  };
  const script = `import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    for name, text in json.load(sys.stdin).items(): wheel.writestr(name, text)`;
  const path = join(index, WHEEL);
  execFileSync(PYTHON, ['-c', script, path], { input: JSON.stringify(files) });
  const tensorflow = {
    project: 'tensorflow-cpu',
    version: '2.21.0',
    file: WHEEL,
    sha256: createHash('sha256').update(readFileSync(path)).digest('hex'),
    bytes: statSync(path).size,
    unpacked: 2 ** 20 + 31,
  };
  return { tensorflow, cuda: [], headers: [] };
}

export interface ChildOptions {
  /** Environment variables beside PATH. */
  readonly env?: Record<string, string>;
  /** A command that runs the set-up: its arguments are followed by node's. */
  readonly under?: readonly string[];
  /** Called with the process as soon as it runs. */
  readonly onStart?: (kill: () => void) => void;
}

/** Runs setUp in a process of its own whose PATH holds the world's tools alone. */
export function setUpIn(world: World, { env = {}, under = [], onStart }: ChildOptions = {}): Promise<Outcome> {
  const options = JSON.stringify({ cache: world.cache, variant: 'cpu', pins: world.pins });
  const [command = process.execPath, ...args] = [...under, process.execPath];
  const child = spawn(command, [...args, '--import', 'tsx', 'test/setup-child.ts', options], {
    cwd: PACKAGE,
    env: { PATH: join(world.folder, 'bin'), HOME: world.folder, ...env },
  });
  onStart?.(() => child.kill('SIGKILL'));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk) => (text += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const lines = text.trimEnd().split('\n');
      const last = lines.pop() ?? '';
      if (code !== 0) return resolve({ code, output: text, result: { reason: 'it crashed' }, milliseconds: 0 });
      return resolve({ code, output: lines.join('\n'), ...JSON.parse(last) });
    });
  });
}

/**
 * A command that runs another without root's right to write anywhere, or the empty command for an ordinary user: only
 * so does a folder's missing write permission mean anything to root.
 */
export function asOrdinaryUser(): string[] {
  if (process.getuid?.() !== 0) return [];
  return [which('setpriv'), '--bounding-set', '-dac_override,-dac_read_search', '--'];
}

/**
 * A command that runs another with a file system of `kilobytes` at `folder`, which vanishes afterwards; undefined where
 * the machine lets this process have none (a container without the right to mount).
 */
export function withSmallDisk(folder: string, kilobytes: number): string[] | undefined {
  try {
    const script = `${which('mount')} -t tmpfs -o size=${kilobytes}k none '${folder}' && exec "$@"`;
    const command = [which('unshare'), '--map-root-user', '--mount', '/bin/sh', '-c', script, 'sh'];
    execFileSync(command[0] ?? '', [...command.slice(1), '/bin/true'], { stdio: 'ignore' });
    return command;
  } catch {
    return undefined;
  }
}

function which(name: string): string {
  const path = ['/usr/bin', '/bin', '/usr/sbin', '/sbin'].map((at) => join(at, name)).find((at) => existsSync(at));
  if (!path) throw new Error(`${name} is not installed (util-linux has it)`);
  return path;
}
