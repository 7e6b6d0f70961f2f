/**
 * Any value that JSON can say, from every rank to every rank: PyTorch's all_gather_object.
 *
 *     await gatherObjects(world, { rank: world.rank, peakBytes })     [{ rank: 0, ... }, { rank: 1, ... }, ...]
 *
 *     value -> JSON -> bytes, padded to words of four -> an int32 tensor -> allGather -> and back
 *
 * Texts differ in length, so the lengths are gathered first, one number a rank. Reports, configurations and traces go
 * this way; numbers by the million belong in tensors, which JSON would make several times larger. Both gathers are
 * counted in the group's totals like any other.
 */
import { read } from '@fourfold/runtime/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { ProcessGroup } from './process-group.ts';

/** 64 MiB of text a rank: what a long run's trace takes, and sixteen of them still fit into memory. */
const MOST_WORDS = 2 ** 24;

/**
 * Every rank's value, in rank order, on every rank; all of the group must call it. What comes back is a copy as JSON
 * makes it, the own one too: NaN and infinities come back as null, and what is undefined is left out.
 *
 * @throws Error where JSON can't say the value, or a rank's text is over 64 MiB (then on all ranks)
 */
export async function gatherObjects<T>(group: ProcessGroup, value: T): Promise<T[]> {
  const mine = wordsOf(value);
  const lengths = await gather(group, Int32Array.of(mine.length));
  for (const [rank, length] of lengths.entries())
    if (length < 1 || length > MOST_WORDS)
      throw new Error(`gatherObjects: rank ${rank} of group ${group.name} has ${4 * length} bytes, not 4 to 64 MiB`);
  const words = await gather(group, mine, [...lengths]);
  let start = 0;
  return [...lengths].map((length, rank) => {
    const text = words.subarray(start, start + length);
    start += length;
    return parsed<T>(text, `rank ${rank} of group ${group.name}`);
  });
}

/** All ranks' words, one rank's after the other's; `lengths` where they differ. */
async function gather(group: ProcessGroup, words: Int32Array, lengths?: readonly number[]): Promise<Int32Array> {
  const mine = tf.tensor1d(words, 'int32');
  const gathering = group.allGather(mine, 0, lengths);
  mine.dispose();
  const all = await gathering;
  await group.drained();
  const gathered = Int32Array.from(await read(all));
  all.dispose();
  return gathered;
}

/** JSON allows spaces at its end: up to three fill the last word. */
function wordsOf(value: unknown): Int32Array {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Error(`gatherObjects: JSON has no way to say a value of type ${typeof value}`);
  const bytes = new TextEncoder().encode(text);
  const padded = new Uint8Array(4 * Math.ceil(bytes.length / 4)).fill(' '.charCodeAt(0));
  padded.set(bytes);
  return new Int32Array(padded.buffer);
}

/** The way back; spaces after JSON mean nothing. */
function parsed<T>(words: Int32Array, sender: string): T {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(words));
  } catch (cause) {
    throw new Error(`gatherObjects: what ${sender} sent is no JSON`, { cause });
  }
}
