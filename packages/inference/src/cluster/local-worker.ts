/**
 * Ranks on this machine: workers that the root starts itself, and that end with it.
 *
 *     --local 4       this process is rank 0, and three others are ranks 1 to 3
 *
 * They are processes, not coroutines of one: ranks that wait for one another over lanes each need a thread to sleep in.
 * They meet on loopback by a secret that is drawn for them. A worker hears of its root's end by the pipe between them
 * closing, however the root ended.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exitWith, openBackend, RunError } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { openModel } from '../open.ts';
import type { Address } from './offer.ts';
import { fourfoldVersion } from './secret.ts';
import { SliceCache } from './slice-cache.ts';
import { startWorker } from './worker.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/local-worker.mjs', import.meta.url));
const LOOPBACK = '127.0.0.1';

// ## The root's end

export interface LocalWorkers {
  readonly workers: readonly Address[];
  readonly secret: string;
  /** Ends them. */
  stop(): void;
}

export interface LocalOptions {
  readonly count: number;
  /** CPU threads of each. */
  readonly threads: number;
  /** The model's place on this disk; where there is nothing, the root sends their shares. */
  readonly model: string;
  readonly timeoutMs: number;
}

/** Starts workers, which are then waiting. */
export async function startLocalWorkers({ count, ...options }: LocalOptions): Promise<LocalWorkers> {
  const secret = randomBytes(24).toString('hex');
  const { threads, model, timeoutMs } = options;
  const argv = [String(threads), String(timeoutMs), existsSync(model) ? model : ''];
  const env = { ...process.env, FOURFOLD_SECRET: secret, OMP_NUM_THREADS: String(threads) };
  const children = Array.from({ length: count }, () => fork(PROGRAM, argv, { env }));
  const stop = () => {
    for (const child of children) child.kill();
  };
  try {
    return { workers: await Promise.all(children.map(addressOf)), secret, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

/** Resolves when the worker waits. From then on this process may end without it. */
function addressOf(child: ChildProcess): Promise<Address> {
  return new Promise((resolve, reject) => {
    child.once('exit', (code) =>
      reject(new RunError(`a worker on this machine ended with ${code} before it was ready`)),
    );
    child.once('message', (port) => {
      child.unref();
      child.channel?.unref();
      resolve({ host: LOOPBACK, port: Number(port) });
    });
  });
}

// ## The worker's end

/** Waits for the parent to be its root, until the parent is gone. */
export async function serveParent([threads, timeoutMs, place]: readonly string[]): Promise<void> {
  process.on('disconnect', () => process.exit(0));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(0));
  try {
    await openBackend({ device: 'cpu', threads: Number(threads) });
    const options = {
      ...{ version: fourfoldVersion(), secret: process.env['FOURFOLD_SECRET'] ?? '', log: () => {} },
      ...{ model: place ? await openModel(place) : undefined, cache: new SliceCache(join(cacheDirectory(), 'slices')) },
    };
    const { port } = await startWorker({ ...options, host: LOOPBACK, port: 0, timeoutMs: Number(timeoutMs) });
    process.send?.(port);
  } catch (error) {
    exitWith(error);
  }
}
