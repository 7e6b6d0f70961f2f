/**
 * Looks at the machine: what it is, and which of the tools that set-up needs it has.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SetupFailure } from './failure.ts';
import { run } from './run.ts';
import type { Variant } from './wheels.ts';

/** 'linux-x64', 'darwin-arm64' and the like. */
export const platform = (): string => `${process.platform}-${process.arch}`;

/** Throws where TensorFlow's wheels can't run: they are built against glibc, which Alpine Linux lacks. */
export function requireGlibc(): void {
  if (process.platform !== 'linux') return;
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  if (!header.glibcVersionRuntime) throw new SetupFailure('this Linux has no glibc, which TensorFlow needs');
}

/** 'cuda' where TensorFlow could use an NVIDIA GPU: Linux on x64 with a GPU's device file and the driver's library. */
export async function variantForMachine(): Promise<Variant> {
  const device = ['/dev/nvidiactl', '/dev/nvidia0', '/dev/dxg'].some((path) => existsSync(path)); // dxg: WSL
  if (platform() !== 'linux-x64' || !device) return 'cpu';
  const found = await loader();
  return found('libcuda.so.1') ? 'cuda' : 'cpu';
}

/** Whether the processor has 256-bit vector instructions with fused multiply-add; asked of Linux, which lists them. */
export async function hasAvx2(list = '/proc/cpuinfo'): Promise<boolean> {
  const flags = await readFile(list, 'utf8').catch(() => '');
  return /\bavx2\b/.test(flags) && /\bfma\b/.test(flags);
}

/** A function that tells whether the system's loader would find a shared library by its name. */
export async function loader(): Promise<(soname: string) => boolean> {
  // ldconfig lives in /sbin, which an ordinary user's PATH may lack.
  const { output } = await run('ldconfig', ['-p'], { env: { PATH: `${process.env['PATH'] ?? ''}:/sbin:/usr/sbin` } });
  return loaderFinds(output, process.env['LD_LIBRARY_PATH'] ?? '');
}

/**
 * The same, from `ldconfig -p`'s listing and LD_LIBRARY_PATH. A line of the listing reads
 * `libcuda.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libcuda.so.1`; a 32-bit library's has no `x86-64`.
 */
export function loaderFinds(listing: string, libraryPath: string): (soname: string) => boolean {
  const cached = new Set<string>();
  for (const line of listing.split('\n')) {
    const [, soname, kind] = /^\s*(\S+) \(([^)]*)\) =>/.exec(line) ?? [];
    if (soname && kind?.includes('x86-64')) cached.add(soname);
  }
  const folders = libraryPath.split(':').filter((folder) => folder !== '');
  return (soname) => cached.has(soname) || folders.some((folder) => existsSync(join(folder, soname)));
}

/** Finds pip and returns its version in words; throws where python3 or pip is missing. */
export async function findPip(): Promise<string> {
  const { code, output } = await run('python3', ['-m', 'pip', '--version']);
  if (code === undefined) throw new SetupFailure('python3 is not installed, and its pip downloads TensorFlow');
  const version = /^pip (\S+)/.exec(output)?.[1];
  if (code !== 0 || !version)
    throw new SetupFailure('python3 has no pip (on Debian and Ubuntu: apt install python3-pip)');
  return `pip ${version}`;
}

/** Finds a C++ compiler and returns its command and its first line about itself; throws where there is none. */
export async function findCompiler(): Promise<{ command: string; description: string }> {
  for (const command of ['g++', 'c++', 'clang++']) {
    const { code, output } = await run(command, ['--version']);
    if (code === 0) return { command, description: output.split('\n')[0] ?? command };
  }
  throw new SetupFailure('no C++ compiler (g++, c++ or clang++) is installed (on Debian and Ubuntu: apt install g++)');
}
