/**
 * The module that runs the fused ops on NVIDIA's GPUs (../native/cuda), as JavaScript sees it.
 *
 * Loading it registers the kernels with TensorFlow. They are .cu files that NVIDIA's run-time compiler translates for
 * the GPU at hand when an op runs first, and that are kept in the cache from then on: no CUDA toolkit is needed, and
 * who edits one need only run it.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Installed } from './setup/index.ts';
import type { DType } from './tensorflow.ts';

/** Numbers that came from the GPU, and how many milliseconds ago they did: JavaScript may have been busy since. */
export interface Copied {
  readonly numbers: Float32Array;
  readonly ago: number;
}

export interface CudaModule {
  /** Says where the .cu files are, and where to keep what is compiled of them. */
  configure(sources: string, cache: string): void;
  /**
   * Compiles `file`, with lines of C++ before its first that say what for, for an architecture such as 'sm_90', which
   * need not be this machine's. Returns the program's size in bytes; throws with the compiler's words.
   */
  compile(file: string, given: readonly string[], arch: string): number;
  /** What the ops are made for. */
  dtypes(): DType[];
  /** Writes down, in TensorFlow's queue of work, when the GPU gets here. Returns the driver's name for the mark. */
  mark(): number;
  /** When it got to each mark, in milliseconds after the first. Waits for the GPU, and forgets the marks. */
  marks(): number[];
  /** The oldest of the copies that op FourfoldCopyOut has enqueued and nobody has asked for yet, once it is there. */
  copied(): Promise<Copied>;
  /**
   * Where the next op FourfoldCopyInto copies to: byte `at` of `memory`, which is pinned for it until `unpin`; and
   * which of the tensor's bytes, `bytes` of them from byte `from` on.
   */
  aim(memory: ArrayBuffer, at: number, from: number, bytes: number): void;
  /** Ends when all that those ops copy is there. */
  arrived(): Promise<void>;
  unpin(): void;
  /** Bytes that TensorFlow's allocator has handed out, now and at the most since `resetPeak`. */
  memory(): { now: number; peak: number };
  resetPeak(): void;
}

/** The folder of the .cu files. */
export const cudaSources = fileURLToPath(new URL('../native/cuda', import.meta.url));

/** Loads the module, once TensorFlow and its fused ops are loaded; undefined for a TensorFlow without CUDA. */
export function loadCuda({ cuda, home }: Installed): CudaModule | undefined {
  if (cuda === undefined) return undefined;
  const module = createRequire(import.meta.url)(cuda) as CudaModule;
  module.configure(cudaSources, join(home, 'kernels'));
  return module;
}
