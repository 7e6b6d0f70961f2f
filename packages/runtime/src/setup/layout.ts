/**
 * How the cache is laid out, and whether a part of it is whole.
 *
 *     ~/.cache/fourfold/tensorflow-2.21.0-cpu-linux-x64-1c2d3e4f/     the last eight digits hash the pinned wheels
 *         tensorflow/                 libraries and headers from the wheel
 *         nvidia/cublas/lib/ ...      NVIDIA's libraries, where they are needed
 *         headers/nvidia-cuda-crt/    NVIDIA's headers, for CUDA, a folder for each wheel
 *         tfjs_binding-5a6b7c8d9e0f.node                              hashes sources, versions and compiler flags
 *
 * TensorFlow's libraries carry `$ORIGIN/../nvidia/cublas/lib` and its like in their search path, as do NVIDIA's own:
 * laid out as in Python's site-packages, they find one another with no LD_LIBRARY_PATH.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { platform } from './look.ts';
import { type HeaderWheel, type Pins, TENSORFLOW_VERSION, type Variant, type Wheel } from './wheels.ts';

/** A folder that one wheel fills. */
export interface Part {
  readonly wheel: Wheel;
  /** Where it goes, relative to the home: `tensorflow`, `nvidia/cublas`. */
  readonly place: string;
  /** Where the wheel is unpacked, relative to the home: '.' where the wheel itself uses the name of the place. */
  readonly unpackedIn: string;
  /** What to extract: the beginnings of the members' names. */
  readonly members: string[];
  /** Where inside `place` the libraries (or the headers) lie. */
  readonly libraries: string;
}

/** The folder of one TensorFlow in the cache. */
export function homeOf(cache: string, variant: Variant, pins: Pins): string {
  const hash = createHash('sha256').update(JSON.stringify(pins)).digest('hex').slice(0, 8);
  return join(cache, `tensorflow-${TENSORFLOW_VERSION}-${variant}-${platform()}-${hash}`);
}

/** The parts that are needed where the system lacks the CUDA libraries `lacking`. */
export function partsOf(pins: Pins, lacking: Pins['cuda']): Part[] {
  const tensorflow = {
    wheel: pins.tensorflow,
    place: 'tensorflow',
    unpackedIn: '.',
    members: ['tensorflow/libtensorflow_cc.', 'tensorflow/libtensorflow_framework.', 'tensorflow/include/'],
    libraries: '.',
  };
  const nvidia = lacking.map((wheel) => ({
    wheel,
    place: `nvidia/${wheel.folder}`,
    unpackedIn: '.',
    members: [`nvidia/${wheel.folder}/lib/`],
    libraries: 'lib',
  }));
  const headers = pins.headers.map((wheel) => ({
    wheel,
    place: headersPlace(wheel),
    unpackedIn: headersPlace(wheel),
    members: [`${wheel.headers}/`],
    libraries: wheel.headers,
  }));
  return [tensorflow, ...nvidia, ...headers];
}

// Some wheels have both libraries and headers, and of the system's libraries none is replaced: two places, two parts.
const headersPlace = ({ project }: HeaderWheel): string => `headers/${project}`;

/** The folders of headers beside TensorFlow's that a compiler is to search, relative to the home. */
export const headerFolders = (pins: Pins): string[] =>
  pins.headers.map((wheel) => `${headersPlace(wheel)}/${wheel.include}`);

// A part is whole if its marker is there, which is written last, and the libraries have the sizes that it names: a
// crash of the machine, or a clean-up of old files, can leave a folder that looks finished and isn't.
interface Marker {
  readonly sha256: string;
  readonly sizes: Readonly<Record<string, number>>;
}

const MARKER = 'complete.json';

/** The files in a part's library folder with their sizes in bytes. */
async function librarySizes(folder: string): Promise<Record<string, number>> {
  const sizes: Record<string, number> = {};
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isFile() || entry.name === MARKER) continue;
    sizes[entry.name] = (await stat(join(folder, entry.name))).size;
  }
  return sizes;
}

/** Whether `part` lies whole under `home`. */
export async function isWhole(part: Part, home: string): Promise<boolean> {
  try {
    const folder = join(home, part.place);
    const marker = JSON.parse(await readFile(join(folder, MARKER), 'utf8')) as Marker;
    const sizes = await librarySizes(join(folder, part.libraries));
    return marker.sha256 === part.wheel.sha256 && JSON.stringify(sizes) === JSON.stringify(marker.sizes);
  } catch {
    return false; // no marker, no folder, or not readable
  }
}

/** Marks what was extracted below `staging` as whole and moves it to its place under `home`, in one rename. */
export async function publish(part: Part, staging: string, home: string): Promise<void> {
  const made = join(staging, part.place);
  const target = join(home, part.place);
  const marker: Marker = { sha256: part.wheel.sha256, sizes: await librarySizes(join(made, part.libraries)) };
  await writeFile(join(made, MARKER), JSON.stringify(marker, null, 2));
  await mkdir(dirname(target), { recursive: true });
  await rm(target, { recursive: true, force: true }); // what is there was found broken
  await rename(made, target);
}
