/**
 * checkpoint.json: what a checkpoint is of, and the size and SHA-256 of each of its files.
 *
 *     { "format": 1, "step": 120, "updates": 120, "layout": {"dp": 2, ...}, "settings": {...}, "model": {...},
 *       "files": [{ "name": "rank-0000.safetensors", "bytes": 1049088, "sha256": "..." }, ...] }
 *
 * `sha256sum step-000120/*.safetensors` checks it by hand.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';

const count = z.int().nonnegative();
const ranks = z
  .int()
  .min(1)
  .max(2 ** 20);

const schema = z.strictObject({
  format: z.literal(1),
  /** Steps of the run so far: where in the data it is. */
  step: count,
  /** AdamW's steps so far: fewer where some were not taken. */
  updates: count,
  /** The last losses and gradient norms, where outliers are looked for. */
  window: z.strictObject({ losses: z.array(z.number()), norms: z.array(z.number()) }).optional(),
  layout: z.strictObject({ dp: ranks, pp: ranks, cp: ranks, tp: ranks }),
  settings: z.record(z.string(), z.unknown()),
  /** The model's shape. */
  model: z.record(z.string(), z.unknown()),
  /** How many tokens the text has: another text would have others. */
  tokens: count,
  files: z
    .array(z.strictObject({ name: z.string().regex(/^rank-\d{4,7}\.safetensors$/), bytes: count, sha256: z.hex() }))
    .max(2 ** 20),
});
/** What checkpoint.json holds. */
export type Manifest = z.infer<typeof schema>;
export type FileEntry = Manifest['files'][number];

export const fileOf = (rank: number): string => `rank-${String(rank).padStart(4, '0')}.safetensors`;

/** Throws UserError with `path` and what is wrong. */
export function parseManifest(text: string, path: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is damaged: checkpoint.json is no JSON (${messageOf(error)})`);
  }
  const { data, error } = schema.safeParse(json);
  if (data) return data;
  const [issue] = error.issues;
  throw new UserError(`${path} is damaged: checkpoint.json has ${issue?.path.join('.')}: ${issue?.message}`);
}

/** What is wrong with a checkpoint's file, in words: undefined where its bytes are those that were written. */
export async function problemOf(path: string, { name, bytes, sha256 }: FileEntry): Promise<string | undefined> {
  const hash = createHash('sha256');
  try {
    const { size } = await stat(join(path, name));
    if (size !== bytes) return `${name} has ${size} bytes, not ${bytes}`;
    await pipeline(createReadStream(join(path, name), { highWaterMark: 2 ** 20 }), hash);
  } catch (error) {
    return `${name} can't be read: ${messageOf(error)}`;
  }
  return hash.digest('hex') === sha256 ? undefined : `${name} has other bytes than were written (SHA-256)`;
}
