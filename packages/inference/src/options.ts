/**
 * The settings with which every command opens a model.
 */
import type { TransferFormat } from '@fourfold/process-group/lanes';
import { UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import type { Ranks } from './cluster/open-ranks.ts';

const count = z.int().min(1);

/** A fragment of a command's schema: `z.object({ ...modelFlags, steps: ... })`. */
export const modelFlags = {
  model: z
    .string()
    .default('smollm2-135m')
    .describe('a folder from Hugging Face, a .gguf file, or the name of a model, which is fetched where it is absent')
    .meta({ group: 'Model' }),
  maxSeqLen: count
    .max(2 ** 24)
    .optional()
    .describe('positions of a sequence; default: as trained, 4096 at most'),
  weights: z
    .enum(['f32', 'bf16', 'q40', 'q41', 'q80'])
    .optional()
    .describe('format of the weights in memory; default: as they are stored'),
  activations: z
    .enum(['float32', 'q80'])
    .optional()
    .describe('what weights are multiplied with; default: q80 where they are in blocks of 32'),
  kvCache: z.enum(['f32', 'bf16', 'q80']).default('f32').describe('format of the keys and values of past tokens'),
  device: z.enum(['cpu', 'cuda']).default('cpu').describe("where this machine's rank computes"),
  threads: count.max(1024).optional().describe('CPU threads of each rank; default: all cores'),
  workers: z.array(z.string()).default([]).describe('host:port of the other ranks').meta({ group: 'Ranks' }),
  local: count.max(1024).default(1).describe('ranks on this machine, each a process'),
  secretFile: z.string().optional().describe('a file with the secret, as on the workers; default: FOURFOLD_SECRET'),
  peerTimeout: count.max(3600).default(30).describe('seconds that ranks wait for one another'),
  bufferFloatType: z
    .enum(['f32', 'bf16', 'q80'])
    .default('f32')
    .describe('what ranks send each other: exact, or with fewer bytes'),
};

/** The values of modelFlags, as a command line gave them. */
export type ModelFlags = z.output<z.ZodObject<typeof modelFlags>>;

/**
 * Where a command's rank computes.
 *
 * @throws UserError where several ranks of this machine would share a GPU
 */
export function deviceOf({ device, local }: Pick<ModelFlags, 'device' | 'local'>): ModelFlags['device'] {
  if (device === 'cuda' && local > 1)
    throw new UserError(`--local ${local} starts ranks on the CPU, and --device cuda is one rank's: leave one out`);
  return device;
}

/** The names of --buffer-float-type, as ranks have them. */
const TRANSFERS: Readonly<Record<ModelFlags['bufferFloatType'], TransferFormat>> = {
  ...{ f32: 'float32', bf16: 'bfloat16', q80: 'q80' },
};

/** Where a command's flags put the ranks; what there is to say of it goes to stderr. */
export const ranksFrom = (
  flags: Pick<ModelFlags, 'workers' | 'local' | 'secretFile' | 'threads' | 'peerTimeout' | 'bufferFloatType'>,
): Ranks => ({
  ...{ workers: flags.workers, local: flags.local, secretFile: flags.secretFile, threads: flags.threads },
  ...{ secret: process.env['FOURFOLD_SECRET'], transfers: TRANSFERS[flags.bufferFloatType] },
  ...{ timeoutMs: 1000 * flags.peerTimeout, log: (line) => console.error(line) },
});
