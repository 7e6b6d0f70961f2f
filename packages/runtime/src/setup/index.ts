/**
 * Makes TensorFlow ready: a pinned wheel from the Python package index, unpacked into the user's cache, with
 * tfjs-node-gpu's published binding compiled against it.
 *
 *     nx run runtime:setup
 *
 * `findTensorflow` only looks into the cache; `setUp` fills it. Where TensorFlow can't be had, both say why and nothing
 * is thrown: everything runs on wasm too, slower.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Screen } from '../progress.ts';
import { libraryFiles } from './compile.ts';
import { attempt, SetupFailure } from './failure.ts';
import { lock } from './lock.ts';
import { variantForMachine } from './look.ts';
import { isReady, type Plan, planFor } from './plan.ts';
import { carryOut } from './steps.ts';
import { type Pins, TENSORFLOW_VERSION, type Variant } from './wheels.ts';

/** A TensorFlow that is ready to be loaded. All paths are absolute. */
export interface Installed {
  /** tfjs-node-gpu's binding, for `require`. */
  readonly binding: string;
  /** Fourfold's addon, for `require`. */
  readonly addon: string;
  /** Fourfold's fused ops: a shared library that registers them with TensorFlow once that is loaded. */
  readonly ops: string;
  /** With CUDA: the module with the ops' kernels on GPUs, for `require` after `ops`. */
  readonly cuda?: string;
  /** With CUDA: the module that runs NCCL, for `require` once TensorFlow is loaded. */
  readonly nccl?: string;
  /** TensorFlow's shared libraries, in the order in which they are to be loaded. */
  readonly libraries: readonly string[];
  /** The folder of all this in the cache. */
  readonly home: string;
  /** The folder of TensorFlow's headers. */
  readonly include: string;
  /** Whether it is the build for CUDA. */
  readonly variant: Variant;
  /** Of TensorFlow. */
  readonly version: string;
}

/** Why there is no TensorFlow: a clause without its full stop. */
export interface Missing {
  /** The clause. */
  readonly reason: string;
}

/** Where to look for which TensorFlow. */
export interface FindOptions {
  /** The cache folder; default: cacheDirectory(). */
  readonly cache?: string | undefined;
  /** Default: 'cuda' on a machine with an NVIDIA driver, else 'cpu'. */
  readonly variant?: Variant | undefined;
  /** Other wheels than the pinned ones, for tests. */
  readonly pins?: Pins | undefined;
}

/** The same, to make it. */
export interface SetupOptions extends FindOptions {
  /** Where to say what is being done; default: process.stdout. */
  readonly screen?: Screen;
}

/**
 * Looks for TensorFlow in the cache; changes nothing and takes some milliseconds. On a machine with an NVIDIA driver,
 * TensorFlow for CPU will do where the one for CUDA is not there, unless `variant` asks for one of them.
 */
export async function findTensorflow(options: FindOptions = {}): Promise<Installed | Missing> {
  const wanted = options.variant ?? (await variantForMachine());
  const variants: Variant[] = options.variant ? [wanted] : [...new Set([wanted, 'cpu' as const])];
  for (const variant of variants) {
    const plan = await orReason(() => planFor(variant, options.cache, options.pins));
    if ('reason' in plan) return plan;
    if (isReady(plan)) return installed(plan);
  }
  return { reason: `TensorFlow ${TENSORFLOW_VERSION} is not set up (npx nx run runtime:setup does it)` };
}

/**
 * Makes TensorFlow ready, saying on `screen` what it does; returns at once where it is ready already. Whatever stops it
 * is returned as a reason that names the step and the cause.
 */
export function setUp(options: SetupOptions = {}): Promise<Installed | Missing> {
  const { cache, pins, screen = process.stdout } = options;
  return orReason(async () => {
    const variant = options.variant ?? (await variantForMachine());
    const makePlan = () => attempt('looking at this machine', () => planFor(variant, cache, pins));
    const plan = await makePlan();
    if (isReady(plan)) return installed(plan);

    const onWait = (holder: string) => screen.write(`Another set-up (${holder}) is at work: waiting for it.\n`);
    const release = await attempt('opening the cache', async () => {
      await mkdir(plan.home, { recursive: true });
      return lock(join(plan.home, 'lock'), onWait);
    });
    try {
      await carryOut(await makePlan(), screen); // planned anew: the set-up that was waited for has done its work
    } finally {
      await release();
    }
    return installed(plan);
  });
}

/** What `work` returns, or the reason why it was stopped. */
async function orReason<T>(work: () => Promise<T>): Promise<T | Missing> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof SetupFailure) return { reason: error.message };
    throw error;
  }
}

async function installed({ home, modules, variant }: Plan): Promise<Installed> {
  return {
    binding: join(home, modules.binding.file),
    addon: join(home, modules.addon.file),
    ops: join(home, modules.ops.file),
    ...(modules.cuda ? { cuda: join(home, modules.cuda.file) } : {}),
    ...(modules.nccl ? { nccl: join(home, modules.nccl.file) } : {}),
    libraries: await libraryFiles(home),
    home,
    include: join(home, 'tensorflow', 'include'),
    variant,
    version: TENSORFLOW_VERSION,
  };
}
