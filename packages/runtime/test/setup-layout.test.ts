import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { headerFolders, homeOf, isWhole, type Part, partsOf, publish } from '../src/setup/layout.ts';
import { pinsFor } from '../src/setup/wheels.ts';

const cuda = pinsFor('cuda', 'linux-x64');
if (!cuda) throw new Error('no CUDA wheels are pinned');

/** A staging folder with `part` in it as extracted, and the home to publish it to. */
function extracted(part: Part) {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-layout-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [staging, home] = [join(folder, 'staging'), join(folder, 'home')];
  const library = join(part.place, part.libraries, 'liba.so');
  const extract = (text: string) => {
    mkdirSync(dirname(join(staging, library)), { recursive: true });
    writeFileSync(join(staging, library), text);
  };
  extract('the kernels');
  return { staging, home, extract, library: join(home, library), marker: join(home, part.place, 'complete.json') };
}
const parts = partsOf({ ...cuda, headers: cuda.headers.slice(3, 4) }, cuda.cuda.slice(0, 1));

test('the home is a folder of its own for each variant and for each choice of wheels', () => {
  const newer = { ...cuda, tensorflow: { ...cuda.tensorflow, sha256: 'f'.repeat(64) } };
  const homes = [homeOf('/cache', 'cuda', cuda), homeOf('/cache', 'cpu', cuda), homeOf('/cache', 'cuda', newer)];
  expect(new Set(homes).size).toBe(3);
  expect(homeOf('/cache', 'cuda', cuda)).toBe(homes[0]);
  expect(homes[0]).toMatch(/^\/cache\/tensorflow-2\.21\.0-cuda-\w+-\w+-[0-9a-f]{8}$/);
});

test("NVIDIA's libraries lie beside TensorFlow's as in site-packages, and only those that the system lacks", () => {
  expect(partsOf({ ...cuda, headers: [] }, []).map(({ place }) => place)).toEqual(['tensorflow']);
  expect(parts[1]).toMatchObject({ place: 'nvidia/cuda_runtime', members: ['nvidia/cuda_runtime/lib/'] });
});

test('headers have a folder for each wheel, so that they and libraries come and go apart', () => {
  expect(parts[2]).toMatchObject({
    place: 'headers/nvidia-cuda-crt',
    unpackedIn: 'headers/nvidia-cuda-crt',
    members: ['nvidia/cu13/include/crt/'],
    libraries: 'nvidia/cu13/include/crt',
  });
  const places = partsOf(cuda, cuda.cuda).map(({ place }) => place);
  for (const a of places) for (const b of places) expect(a !== b && `${a}/`.startsWith(`${b}/`)).toBe(false);
  expect(headerFolders(cuda)).toContain('headers/nvidia-cuda-crt/nvidia/cu13/include');
});

test.each(parts)('$place is whole once it is published, and is moved, not copied', async (part) => {
  const { staging, home, library } = extracted(part);
  expect(await isWhole(part, home)).toBe(false);
  await publish(part, staging, home);
  expect(await isWhole(part, home)).toBe(true);
  expect(existsSync(library)).toBe(true);
  expect(existsSync(join(staging, part.place))).toBe(false);
});

test.each(parts)('$place is not whole with a library cut short, added or gone, or without its marker', async (part) => {
  const damages = [
    (at: ReturnType<typeof extracted>) => truncateSync(at.library, 3),
    (at: ReturnType<typeof extracted>) => writeFileSync(join(dirname(at.library), 'libb.so'), ''),
    (at: ReturnType<typeof extracted>) => rmSync(at.library),
    (at: ReturnType<typeof extracted>) => rmSync(at.marker),
    (at: ReturnType<typeof extracted>) => truncateSync(at.marker, 10),
  ];
  for (const damage of damages) {
    const at = extracted(part);
    await publish(part, at.staging, at.home);
    damage(at);
    expect(await isWhole(part, at.home)).toBe(false);
  }
});

test.each(parts)('$place out of another wheel is not the one that is wanted', async (part) => {
  const { staging, home } = extracted(part);
  await publish(part, staging, home);
  expect(await isWhole({ ...part, wheel: { ...part.wheel, sha256: 'f'.repeat(64) } }, home)).toBe(false);
});

test.each(parts)('publishing $place takes away all that was broken', async (part) => {
  const { staging, home, extract, library } = extracted(part);
  await publish(part, staging, home);
  writeFileSync(join(dirname(library), 'libold.so'), '');
  extract('better kernels');
  await publish(part, staging, home);
  expect(await isWhole(part, home)).toBe(true);
  expect(readdirSync(dirname(library)).filter((name) => name.endsWith('.so'))).toEqual(['liba.so']);
});
