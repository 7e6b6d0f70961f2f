/**
 * Opens the tensor backend: TensorFlow on an NVIDIA GPU, TensorFlow on the CPU, or wasm.
 *
 *   const backend = await openBackend({ device: 'auto' })
 *   console.log(backend.description)          // TensorFlow 2.21.0 on 2 CPU threads
 *
 * tfjs keeps one backend for the whole process, and TensorFlow takes its number of threads when it loads: so the first
 * call decides, and a later one that asks for something else is refused.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import util from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { loadCuda } from './cuda.ts';
import { UserError } from './errors.ts';
import { findTensorflow, type Installed } from './setup/index.ts';
import { type NativeOps, type NodeBackendClass, type TensorflowBackend, withTrueDtypes } from './tensorflow.ts';

/** Where tensors can be; 'auto' is the best of the others that there is. */
export type Device = 'auto' | 'cuda' | 'cpu' | 'wasm';

/** Which backend to open. */
export interface BackendOptions {
  /** Default 'auto': the best that is there. Any other is taken or refused, never replaced. */
  device?: Device;
  /** CPU threads; default: OMP_NUM_THREADS, by which launchers divide the cores among ranks, or one a core. */
  threads?: number;
  /** Let TensorFlow's own log through (default false). */
  log?: boolean;
}

/** What was opened. */
export interface Backend {
  /** Where tensors are. */
  readonly device: 'cuda' | 'cpu' | 'wasm';
  /** CPU threads that it computes with. */
  readonly threads: number;
  /** 'TensorFlow 2.21.0 on 1 CPU thread' */
  readonly description: string;
  /** With device 'auto', why nothing better than wasm was to be had. */
  readonly note?: string;
}

let opened: { options: string; backend: Promise<Backend> } | undefined; // one a process, as tfjs has it

/** Opens the backend and makes it tfjs's; throws UserError where the device asked for can't be had. */
export async function openBackend(options: BackendOptions = {}): Promise<Backend> {
  const { device = 'auto', threads = defaultThreads(), log = false } = options;
  const asked = `device ${device} with ${threads} threads`;
  opened ??= { options: asked, backend: open(device, threads, log) };
  if (opened.options !== asked)
    throw new UserError(`${asked} can't be opened: this process already uses ${opened.options}`);
  return opened.backend.catch((error) => {
    opened = undefined; // nothing was opened: another device may be asked for
    throw error;
  });
}

function defaultThreads(): number {
  const asked = Number(process.env['OMP_NUM_THREADS']);
  return Number.isInteger(asked) && asked > 0 ? asked : availableParallelism();
}

async function open(device: Device, threads: number, log: boolean): Promise<Backend> {
  if (device === 'wasm') return openWasm();
  const found = await findTensorflow();
  if ('reason' in found) {
    if (device === 'auto') return { ...(await openWasm()), note: found.reason };
    throw new UserError(`device=${device} needs TensorFlow, which is not set up: ${found.reason}`);
  }
  if (device === 'cuda' && found.variant !== 'cuda')
    throw new UserError('device=cuda needs an NVIDIA driver, and none was found: use auto, cpu or wasm');
  return openTensorflow(found, device, threads, log);
}

// ## TensorFlow

/**
 * Loads TensorFlow and gives its kernels to tfjs.
 *
 * tfjs-node-gpu's own entry point looks for its binding inside node_modules and loads all of tfjs's layers; we load
 * the two files of it that hold the backend and the kernels, and hand them the binding from the cache.
 */
async function openTensorflow(found: Installed, device: Device, threads: number, log: boolean): Promise<Backend> {
  setTensorflowVariables(device, threads, log);
  restoreRemovedUtilities();
  const require = createRequire(import.meta.url);
  require(found.addon).loadLibraries(found.libraries, log ? 0 : 3);
  const native = require(found.ops) as NativeOps; // registers the fused ops with TensorFlow as it loads
  const binding: unknown = require(found.binding);
  const { NodeJSKernelBackend } = require('@tensorflow/tfjs-node-gpu/dist/nodejs_kernel_backend.js') as {
    NodeJSKernelBackend: NodeBackendClass;
  };
  require('@tensorflow/tfjs-node-gpu/dist/register_all_kernels.js');
  const cuda = device === 'cpu' ? undefined : loadCuda(found); // registers their kernels for GPUs
  const Backend = withTrueDtypes(NodeJSKernelBackend, native, cuda);
  tf.registerBackend('tensorflow', () => new Backend(binding, '@tensorflow/tfjs-node-gpu'), 3);
  await tf.setBackend('tensorflow');
  const onGpu = (tf.backend() as TensorflowBackend).isUsingGpuDevice;
  if (device === 'cuda' && !onGpu)
    throw new UserError('device=cuda: TensorFlow found no usable GPU (see its log with --log true); use cpu or wasm');
  return {
    device: onGpu ? 'cuda' : 'cpu',
    threads,
    description: `TensorFlow ${found.version} on ${onGpu ? gpuModel() : cpuThreads(threads)}`,
  };
}

const cpuThreads = (count: number): string => `${count} CPU thread${count === 1 ? '' : 's'}`;

/**
 * 'NVIDIA H100 80GB HBM3', as the driver names the machine's GPUs: it keeps a folder for each, whose file `information`
 * has the line "Model: ...". 'an NVIDIA GPU' where there are no such folders, or the GPUs differ.
 */
export function gpuModel(folder = '/proc/driver/nvidia/gpus'): string {
  try {
    const files = readdirSync(folder).map((gpu) => readFileSync(join(folder, gpu, 'information'), 'utf8'));
    const models = new Set(files.map((text) => /^Model:\s*(.+?)\s*$/m.exec(text)?.[1]));
    const [model] = models;
    return models.size === 1 && model ? model : 'an NVIDIA GPU';
  } catch {
    return 'an NVIDIA GPU'; // Windows' Linux and some containers have no such folder
  }
}

/** Settings that TensorFlow reads while it loads. What the user has set already stays. */
function setTensorflowVariables(device: Device, threads: number, log: boolean): void {
  const settings: Record<string, string> = {
    TF_NUM_INTRAOP_THREADS: String(threads), // threads inside one kernel
    TF_NUM_INTEROP_THREADS: '1', // kernels side by side: ours come one after the other
    TF_ENABLE_ONEDNN_OPTS: '1', // batched products 2 to 4 times faster on CPUs without AVX-512 too
    TF_DETERMINISTIC_OPS: '1', // same seed, same bits
    TF_FORCE_GPU_ALLOW_GROWTH: 'true', // or TensorFlow takes the whole GPU's memory at once
    NVIDIA_TF32_OVERRIDE: '0', // float32 products in float32: tf32 keeps 10 bits of the fraction, and gradients show it
    CUDA_DEVICE_MAX_CONNECTIONS: '32', // queues of the GPU: of streams that share one, the second waits for the first
    TF_CPP_MIN_LOG_LEVEL: log ? '0' : '3',
  };
  for (const [name, value] of Object.entries(settings)) process.env[name] ??= value;
  if (device === 'cpu') process.env['CUDA_VISIBLE_DEVICES'] = '-1'; // whatever GPU a launcher gave this rank
}

/** tfjs-node 4.22 calls two functions that Node 22 warns of and Node 23 removed (tfjs issue 8609). */
function restoreRemovedUtilities(): void {
  const removed = util as unknown as Record<string, unknown>;
  removed['isNullOrUndefined'] = (x: unknown) => x === null || x === undefined;
  removed['isArray'] = Array.isArray;
}

// ## wasm

/** The backend that needs nothing but Node: one thread, float32 alone. */
async function openWasm(): Promise<Backend> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  const folder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
  wasm.setWasmPaths(`${folder}/dist/`);
  if (!(await tf.setBackend('wasm'))) throw new Error('the wasm backend did not start');
  return { device: 'wasm', threads: 1, description: `WebAssembly on ${cpuThreads(1)}` };
}
