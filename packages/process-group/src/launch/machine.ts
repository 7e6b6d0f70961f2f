/**
 * What the launcher asks of the machine: its GPUs, its cores, a free port.
 */
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';

/** What ranks can be spread over. */
export interface Machine {
  /** As CUDA_VISIBLE_DEVICES names them. */
  readonly gpus: readonly string[];
  /** As many as this process may use. */
  readonly cores: number;
}

/**
 * The names under which CUDA knows the GPUs that the user may use: those listed in CUDA_VISIBLE_DEVICES (numbers, or
 * names such as GPU-8932f937), else 0, 1, ... for as many as NVIDIA's driver keeps folders for.
 */
export function gpusOf(visible: string | undefined, folder = '/proc/driver/nvidia/gpus'): string[] {
  if (visible !== undefined) {
    const names = visible.split(',').map((name) => name.trim());
    const end = names.findIndex((name) => name === '' || name === '-1'); // CUDA too reads no further
    return end < 0 ? names : names.slice(0, end);
  }
  try {
    return readdirSync(folder).map((_, i) => String(i));
  } catch {
    return []; // no such folder: no such driver
  }
}

/** Threads for each of `ranks` on a machine of `cores`. More would take turns on the cores, and wait for each other. */
export const threadsFor = (ranks: number, cores: number): number => Math.max(1, Math.floor(cores / ranks));

/**
 * A TCP port of 127.0.0.1 that nobody listens on: the system chooses one. It is free again when this returns, so that
 * rank 0 can take it; that nobody else does meanwhile is likely, since the system goes through its ports in turn.
 */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
