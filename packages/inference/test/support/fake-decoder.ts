/**
 * A decoder whose logits are a hash of all tokens before, so that whoever loses, mixes up or wrongly reuses one of them
 * gets another text. It holds callers to the contract: positions without a gap, slots and rows in their bounds.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { UserError } from '@fourfold/runtime/errors';
import type { Decoder, Logits, Row } from '../../src/decoder.ts';
import { chosenOf } from './whole-forward.ts';

export interface FakeOptions {
  readonly vocabulary?: number;
  readonly slots?: number;
  readonly maxRows?: number;
  readonly maxSeqLength?: number;
  /** Milliseconds that a step takes. */
  readonly delay?: number;
  /** Added to a token's logit: what is likely, whatever came before. */
  readonly bias?: (token: number, length: number) => number;
}

export interface FakeDecoder extends Decoder {
  readonly steps: (readonly Row[])[];
  readonly copies: { from: number; to: number; length: number }[];
  /** Makes steps fail from now on. */
  failure: Error | undefined;
  isClosed: boolean;
}

export function fakeDecoder(options: FakeOptions = {}): FakeDecoder {
  const { vocabulary = 259, slots = 4, maxRows = 16, maxSeqLength = 256, delay = 0, bias = () => 0 } = options;
  const caches: number[][] = Array.from({ length: slots }, () => []);
  const decoder: FakeDecoder = {
    ...{ vocabulary, slots, maxRows, maxSeqLength, ranks: 1, steps: [], copies: [], failure: undefined },
    ...{ cost: { total: 1, transfer: 0.25, sent: 10, received: 20 }, isClosed: false },
    async step(rows) {
      await wait(delay);
      if (decoder.failure) throw decoder.failure;
      if (rows.length < 1 || rows.length > maxRows) throw new Error(`${rows.length} rows`);
      decoder.steps.push(rows);
      return rows.flatMap((row) => computed(row, caches, maxSeqLength, vocabulary, bias));
    },
    async copySlot(from, to, length) {
      if (length > (caches[from]?.length ?? -1)) throw new UserError(`slot ${from} holds no ${length} positions`);
      decoder.copies.push({ from, to, length });
      caches[to] = (caches[from] as number[]).slice(0, length);
    },
    async close() {
      decoder.isClosed = true;
    },
  };
  return decoder;
}

function computed(
  { token, slot, position, wanted }: Row,
  caches: number[][],
  maxSeqLength: number,
  vocabulary: number,
  bias: (token: number, length: number) => number,
): Logits[] {
  const cache = caches[slot];
  if (!cache) throw new Error(`slot ${slot}`);
  if (position > cache.length || position >= maxSeqLength) throw new Error(`position ${position} of ${cache.length}`);
  cache.splice(position, cache.length, token);
  if (wanted === 'nothing') return [];
  const values = logitsAfter(cache, vocabulary, bias);
  return [chosenOf(values, wanted)];
}

/** The logits after some tokens: numbers from -2 to 2 that look like noise, and the bias. */
export function logitsAfter(
  tokens: readonly number[],
  vocabulary: number,
  bias: (token: number, length: number) => number = () => 0,
): Float32Array {
  let hash = 0x811c9dc5;
  for (const token of tokens) hash = Math.imul(hash ^ (token + 1), 0x01000193) >>> 0;
  return Float32Array.from({ length: vocabulary }, (_, token) => {
    let mixed = Math.imul(hash ^ Math.imul(token + 1, 0x9e3779b1), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 30 - 2 + bias(token, tokens.length);
  });
}
