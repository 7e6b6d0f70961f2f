/**
 * Compiles the native modules: tfjs-node-gpu's own binding, unchanged, Fourfold's addon (../../native/*.cc), its
 * fused ops for TensorFlow (../../native/ops) and, for CUDA, the same ops' kernels on GPUs (../../native/cuda) and the
 * collectives between GPUs (../../native/nccl), both with what they share (../../native/gpu).
 *
 * They speak Node-API, whose functions every Node since 20 has under the same names: one binary serves Node 20
 * to 26, and the headers come from npm (node-api-headers), so that no Node headers need be installed.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SetupFailure } from './failure.ts';
import { headerFolders } from './layout.ts';
import { hasAvx2 } from './look.ts';
import { run } from './run.ts';
import type { Pins } from './wheels.ts';

/** One native module to compile. */
export interface Module {
  /** Its file in the cache: `<name>-<hash>.node`. */
  readonly file: string;
  /** What it is, in words. */
  readonly title: string;
  /** Absolute paths of the .cc files. */
  readonly sources: readonly string[];
  /** Compiler flags, none of which holds a path of this machine. */
  readonly flags: readonly string[];
  /** Folders of headers, beside TensorFlow's and Node's, relative to the home. */
  readonly headers: readonly string[];
  /** Whether it calls TensorFlow's C interface and is linked with it. */
  readonly usesTensorflow: boolean;
}

export interface Modules {
  readonly binding: Module;
  readonly addon: Module;
  readonly ops: Module;
  /** These two with CUDA only: nobody else could use them. */
  readonly cuda?: Module;
  readonly nccl?: Module;
}

const FLAGS = ['-O2', '-std=c++17', '-shared', '-fPIC', '-DNAPI_VERSION=8'];
// The fused ops are loops for the compiler to turn into vector instructions: AVX2, where the processor has it. With
// trapping arithmetic it could not: 393,216 exponentials take 1.5 ms instead of 0.26. TensorFlow's headers ask for the
// alignment that its own libraries were built with, and their warnings are not ours.
const VECTOR_FLAGS = ['-O3', '-fopenmp-simd', '-fno-math-errno', '-fno-trapping-math', '-w'];
const ALIGNMENT = '-DEIGEN_MAX_ALIGN_BYTES=64';

const folderOf = (name: string): string => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));

/** The native modules at their present sources. */
export async function modulesFor(pins: Pins): Promise<Modules> {
  const mac = process.platform === 'darwin';
  const origin = mac ? '@loader_path' : '$ORIGIN'; // the folder of the module itself: the cache can be moved
  const folders = ['tensorflow', ...pins.cuda.map((wheel) => `nvidia/${wheel.folder}/lib`)];
  const flags = [
    ...FLAGS,
    ...(mac ? ['-undefined', 'dynamic_lookup'] : []), // Node itself supplies the napi_ functions
    ...folders.map((folder) => `-Wl,-rpath,${origin}/${folder}`),
  ];
  const vectors = [...flags, ...VECTOR_FLAGS, ALIGNMENT, ...((await hasAvx2()) ? ['-mavx2', '-mfma'] : [])];
  const native = fileURLToPath(new URL('../../native', import.meta.url));
  const binding = join(folderOf('@tensorflow/tfjs-node-gpu'), 'binding');
  return {
    binding: await moduleOf('tfjs_binding', "tfjs-node-gpu's binding", [binding], flags, true),
    addon: await moduleOf('fourfold_addon', "Fourfold's addon", [native], flags, false),
    ops: await moduleOf(
      'fourfold_ops',
      "Fourfold's fused ops",
      [join(native, 'ops'), join(native, 'shapes')],
      vectors,
      true,
    ),
    ...(pins.cuda.length > 0 ? await gpuModules(native, flags, headerFolders(pins)) : {}),
  };
}

// Both find NVIDIA's libraries when they run, by the search path among the flags: linking needs none of them. What the
// kernels' module does itself is to start them, so that -O1 is enough; cuDNN's C++ headers take g++ most of a minute.
async function gpuModules(native: string, flags: string[], headers: string[]) {
  const both = [...flags, '-w', ALIGNMENT];
  const cuda = [...both, '-std=c++20', '-O1'];
  const sources = (...names: string[]): string[] => [...names, 'gpu'].map((name) => join(native, name));
  return {
    cuda: {
      ...(await moduleOf('fourfold_cuda', "Fourfold's GPU ops", sources('cuda', 'shapes'), cuda, true)),
      headers,
    },
    nccl: await moduleOf('fourfold_nccl', "Fourfold's NCCL ops", sources('nccl'), both, true),
  };
}

/** A module of all the .cc files in `folders`; its file name hashes them, their headers, the flags and the versions. */
export async function moduleOf(
  name: string,
  title: string,
  folders: readonly string[],
  flags: readonly string[],
  usesTensorflow: boolean,
): Promise<Module> {
  const hash = createHash('sha256').update(JSON.stringify(flags));
  hash.update(await readFile(join(folderOf('node-api-headers'), 'package.json'))); // its version is in it
  const files = (await Promise.all(folders.map(codeIn))).flat();
  for (const file of files) hash.update(basename(file)).update(await readFile(file));
  const sources = files.filter((file) => file.endsWith('.cc'));
  return {
    file: `${name}-${hash.digest('hex').slice(0, 12)}.node`,
    title,
    sources,
    flags,
    headers: [],
    usesTensorflow,
  };
}

/** The .cc and .h files in `folder`, as paths. */
async function codeIn(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((file) => /\.(cc|h)$/.test(file));
  return files.sort().map((file) => join(folder, file));
}

/** The file's path under `home` where it is there, else undefined. */
export async function builtModule(module: Module, home: string): Promise<string | undefined> {
  const path = join(home, module.file);
  const info = await stat(path).catch(() => undefined);
  return info && info.size > 0 ? path : undefined;
}

/** Compiles `module` in `staging` with `compiler` and moves it to its place under `home`, in one rename. */
export async function compileModule(module: Module, compiler: string, staging: string, home: string): Promise<void> {
  const made = join(staging, module.file);
  const includes = [join(folderOf('node-api-headers'), 'include'), join(home, 'tensorflow', 'include')];
  const folders = [...includes, ...module.headers.map((folder) => join(home, folder))];
  const compileOne = [...module.flags, ...folders.map((folder) => `-I${folder}`), '-c'];
  const objects = await inParallel(module.sources, async (source) => {
    const object = `${made}.${basename(source)}.o`;
    await runCompiler(compiler, [...compileOne, source, '-o', object]);
    return object;
  });
  // Linked in the other order than they are loaded.
  const libraries = module.usesTensorflow ? (await libraryFiles(home)).toReversed() : [];
  await runCompiler(compiler, [...module.flags, ...objects, '-o', made, ...libraries]);
  for (const object of objects) await rm(object);
  await rename(made, join(home, module.file));
}

async function runCompiler(compiler: string, options: readonly string[]): Promise<void> {
  const { code, errors } = await run(compiler, options);
  if (code !== 0) throw new SetupFailure(`${basename(compiler)} says: ${firstError(errors)}`);
}

/** Does `work` with each item, one a core at once; after a failure nothing more is begun, and it is thrown. */
async function inParallel<X, Y>(items: readonly X[], work: (item: X) => Promise<Y>): Promise<Y[]> {
  const results: Y[] = [];
  const waiting = [...items.entries()];
  const worker = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [i, item] = next;
      try {
        results[i] = await work(item);
      } catch (error) {
        waiting.length = 0;
        throw error;
      }
    }
  };
  // A compiler with TensorFlow's headers takes 1 GB of memory: not as many as a large machine has cores.
  const workers = Array.from({ length: Math.min(availableParallelism(), 8) }, worker);
  const ended = await Promise.allSettled(workers);
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
  return results;
}

/** TensorFlow's shared libraries under `home`, in the order in which they load: the framework, then all the rest. */
export async function libraryFiles(home: string): Promise<string[]> {
  const folder = join(home, 'tensorflow');
  const files = (await readdir(folder)).filter((file) => file.startsWith('libtensorflow_'));
  return files
    .sort()
    .toReversed()
    .map((file) => join(folder, file));
}

/** The line of a compiler's output that says what is wrong. */
const firstError = (errors: string): string => {
  const lines = errors.trim().split('\n');
  return lines.find((line) => /error|cannot find|No space left/.test(line)) ?? lines[0] ?? 'nothing';
};
