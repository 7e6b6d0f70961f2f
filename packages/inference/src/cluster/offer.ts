/**
 * What a root offers a worker, and what the worker says to it.
 *
 *     root                                                worker
 *     offer: version, model, its rank, the others  ->     compares
 *                                                  <-     answer: whether it has the model; or failure, and why
 *     meet, once all have answered                 ->     dials the workers of lower rank, waits for the others
 *                                                  <-     met
 *     slices, where it has no model of its own     ->     loads its share
 *                                                  <-     ready
 *
 * Both run the same version, since what else they would have to agree on is in the code. Whether a worker's own model
 * is the root's is told by a fingerprint: of the shape, of the names, formats and sides of all tensors, and of the
 * first row of each. So a model of the same shape that was trained otherwise is another one, and no more than some
 * kilobytes are read of it.
 */
import { createHash } from 'node:crypto';
import { transferFormats } from '@fourfold/process-group/lanes';
import { RunError, UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import type { ChosenOptions } from '../load.ts';
import type { ModelShape } from '../shape.ts';
import type { StoredModel } from '../stored.ts';
import { parseBody } from './control.ts';
import { checkSizes, offeredShape } from './offered-shape.ts';

// ## Addresses

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** 'host:port', IPv6 in brackets. */
export const nameOf = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

/**
 * An address as it is written in --workers.
 *
 * @throws UserError where it isn't host:port
 */
export function addressOf(text: string): Address {
  const [, bracketed, plain, port] = /^(?:\[([\da-fA-F:.%\w]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  if (host && Number(port) >= 1 && Number(port) <= 65535) return { host, port: Number(port) };
  throw new UserError(`--workers ${text} is no address: write host:port, as in 10.0.0.2:9998`);
}

// ## The offer

const weightFormat = z.enum(['f32', 'bf16', 'q40', 'q41', 'q80']);
const count = z
  .int()
  .min(1)
  .max(2 ** 31);

/** How a shared model is computed: the same on all ranks. */
const sharing = z.object({
  slots: count.max(4096),
  maxSeqLength: count,
  maxRows: count.max(65536),
  activations: z.enum(['float32', 'q80']),
  kvCache: z.enum(['f32', 'bf16', 'q80']),
  /** What matrices are converted to; absent: as they are stored. */
  weights: weightFormat.optional(),
});

const offer = z.object({
  version: z.string().max(40),
  /** Lanes of another session are not let in. */
  session: z.int().min(0).max(1e9),
  rank: z.int().min(1).max(1023),
  /** The workers' addresses, of rank 1 and up, as the root reaches them. */
  workers: z
    .array(z.object({ host: z.string().max(253), port: z.int().min(1).max(65535) }))
    .min(1)
    .max(1023),
  shape: offeredShape,
  fingerprint: z.string().max(64),
  /** Weights are drawn, in this format, for measuring; absent: they are the model's. */
  random: weightFormat.optional(),
  sharing,
  transfers: z.enum(transferFormats),
  timeoutMs: count.max(3_600_000),
});
export type Offer = Omit<z.output<typeof offer>, 'shape' | 'sharing'> & {
  readonly shape: ModelShape;
  readonly sharing: ChosenOptions;
};

const answer = z.object({ hasModel: z.boolean() });

/**
 * The offer of a frame.
 *
 * @throws RunError where the root runs another version, which is looked at first: it may offer otherwise; and where
 * the sizes of its model don't fit together, or ask for more memory than any machine has
 */
export function parseOffer(body: Uint8Array, version: string): Offer {
  const value = parseBody(body);
  const theirs = z.object({ version: z.string().max(40) }).safeParse(value);
  if (theirs.success && theirs.data.version !== version)
    throw new RunError(`it runs fourfold ${version}, and the root ${theirs.data.version}: install the same on both`);
  const parsed = offer.safeParse(value);
  if (!parsed.success) throw new RunError('the offer makes no sense');
  const { sharing: options } = parsed.data;
  const taken = { ...parsed.data, sharing: { ...options, weights: options.weights } } as unknown as Offer;
  if (taken.rank > taken.workers.length) throw new RunError(`the offer makes no sense: rank ${taken.rank} of too few`);
  checkSizes(taken.shape, taken.sharing);
  return taken;
}

/** Whether the worker has the model on its own disk. */
export function parseAnswer(body: Uint8Array, name: string): boolean {
  const parsed = answer.safeParse(parseBody(body));
  if (!parsed.success) throw new RunError(`${name} gave an answer that makes no sense`);
  return parsed.data.hasModel;
}

// ## The model's fingerprint

/** SHA-256 of the shape, the tensors' formats and sides, and the first row of each; 64 hexadecimal digits. */
export function fingerprintOf({ shape, tensors, read }: Pick<StoredModel, 'shape' | 'tensors' | 'read'>): string {
  const hash = createHash('sha256').update(JSON.stringify(sorted(shape)));
  for (const name of [...tensors.keys()].sort()) {
    const { format, shape: sides } = tensors.get(name) as { format: string; shape: readonly number[] };
    hash.update(`${name} ${format} ${sides}`).update(read(name, sides.length > 1 ? { rows: [0, 1] } : {}));
  }
  return hash.digest('hex');
}

/** Keys in one order, whoever read the shape. */
function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, sorted(v)]),
  );
}
