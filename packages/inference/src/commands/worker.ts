/**
 * `npx fourfold worker`: one rank of a model that a root shares out.
 *
 *     npx fourfold worker --port 9998                                             this machine alone
 *     npx fourfold worker --port 9998 --host 10.0.0.2 --secret-file secret        from other machines too
 *
 * It serves one root after the other until it is stopped (Ctrl-C, SIGTERM).
 */
import { join } from 'node:path';
import { readConfig, runMain } from '@fourfold/cli';
import { openBackend } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { z } from 'zod';
import { fourfoldVersion, secretFor } from '../cluster/secret.ts';
import { SliceCache } from '../cluster/slice-cache.ts';
import { startWorker } from '../cluster/worker.ts';
import { openModel } from '../open.ts';

const schema = z.object({
  port: z.int().min(0).max(65535).default(9998).describe('where the root finds this worker; 0: any that is free'),
  host: z
    .string()
    .default('127.0.0.1')
    .describe('the address of this machine to wait at; other machines need a secret'),
  secretFile: z.string().optional().describe('a file with the secret, as on the root; default: FOURFOLD_SECRET'),
  model: z.string().optional().describe("the root's model on this machine's disk; default: the root sends its share"),
  cache: z.string().optional().describe('folder for what the root sends; default: slices in the cache of Fourfold'),
  device: z.enum(['cpu', 'cuda']).default('cpu').describe('where it computes'),
  threads: z.int().min(1).max(1024).optional().describe('CPU threads; default: one a core'),
  timeout: z.int().min(1).max(3600).default(30).describe('seconds of silence after which a root counts as gone'),
});

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = "Holds a share of a model and computes with it, for a root's generate, chat, serve or perplexity.";
    const { port, host, secretFile, model, cache, device, threads, timeout } = readConfig({
      ...{ schema, argv, usage, name: 'npx fourfold worker' },
    });
    const secret = secretFor([host], secretFile, process.env['FOURFOLD_SECRET']);
    const own = model === undefined ? undefined : await openModel(model);
    const { description } = await openBackend({ device, ...(threads ? { threads } : {}) });
    const log = (line: string): void => console.log(`worker: ${line}`);
    log(description);
    const slices = new SliceCache(cache ?? join(cacheDirectory(), 'slices'));
    const options = { version: fourfoldVersion(), secret, model: own, cache: slices, log };
    const worker = await startWorker({ ...options, host, port, timeoutMs: 1000 * timeout });
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => void worker.close().then(() => process.exit(signal === 'SIGINT' ? 130 : 143)));
  });
