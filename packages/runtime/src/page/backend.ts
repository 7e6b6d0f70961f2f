/**
 * Opens a tensor backend in a web page, or in a worker of it: WebGPU or WebAssembly.
 *
 *     const backend = await openPageBackend({ device: 'wasm', wasmPaths })
 *     console.log(backend.description)                     // WebAssembly on 1 thread, with SIMD
 *
 * WebGPU runs each op on the graphics card, WebAssembly on the CPU. A card computes large ops faster and takes longer
 * to start any, so it is for larger models.
 */
import * as tf from '@tensorflow/tfjs-core';
import type { Backend } from '../backend.ts';
import { UserError } from '../errors.ts';

/** Which backend to open. */
export interface PageOptions {
  /** Taken or refused, never replaced. */
  readonly device: 'wasm' | 'webgpu';
  /** Where the page's site has tfjs's .wasm files: their addresses by their names. */
  readonly wasmPaths: Readonly<Record<string, string>>;
}

/** `device` is what an op's settings may depend on, and to those WebGPU is as WebAssembly: float32 alone. */
export type PageBackend = Backend & { readonly name: PageOptions['device'] };

/** Opens the backend and makes it tfjs's; throws UserError where this browser hasn't got it. */
export const openPageBackend = ({ device, wasmPaths }: PageOptions): Promise<PageBackend> =>
  device === 'webgpu' ? openWebGpu() : openWasm(wasmPaths);

async function openWasm(wasmPaths: PageOptions['wasmPaths']): Promise<PageBackend> {
  const wasm = await import('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(wasmPaths);
  if (!(await tf.setBackend('wasm'))) throw new UserError('this browser has no WebAssembly: use a newer one');
  const [simd, threaded] = await Promise.all(
    ['WASM_HAS_SIMD_SUPPORT', 'WASM_HAS_MULTITHREAD_SUPPORT'].map((flag) => tf.env().getAsync(flag)),
  );
  const threads = threaded ? wasm.getThreadsCount() : 1;
  const description = `WebAssembly on ${threads} thread${threads === 1 ? '' : 's'}${simd ? ', with SIMD' : ''}`;
  return { name: 'wasm', device: 'wasm', threads, description };
}

async function openWebGpu(): Promise<PageBackend> {
  const adapter = await adapterOf(globalThis.navigator);
  if (!adapter) throw new UserError('this browser has no WebGPU adapter: use WebAssembly');
  await import('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new UserError('WebGPU did not start: use WebAssembly');
  failWith(tf.backend() as unknown as { device: EventTarget });
  const { vendor = '', architecture = '' } = adapter.info ?? {};
  const model = [vendor, architecture].filter(Boolean).join(' ');
  return { name: 'webgpu', device: 'wasm', threads: 1, description: `WebGPU${model && ` on ${model}`}` };
}

/** A kernel that a card refuses leaves zeros and a line in the console; this makes it an error of the worker. */
function failWith({ device }: { device: EventTarget }): void {
  device.addEventListener('uncapturederror', (event) => {
    const { error } = event as Event & { readonly error: { readonly message: string } };
    throw new Error(`WebGPU: ${error.message}`);
  });
}

/** As much of WebGPU's GPUAdapter as is used. */
export interface Adapter {
  /** What the card is, where the browser says. */
  readonly info?: { readonly vendor?: string; readonly architecture?: string };
}

/** The graphics card that the browser offers; undefined where it offers none. */
export async function adapterOf(navigator: object | undefined): Promise<Adapter | undefined> {
  const { gpu } = (navigator ?? {}) as { gpu?: { requestAdapter(): Promise<Adapter | null> } };
  return (await gpu?.requestAdapter()) ?? undefined;
}
