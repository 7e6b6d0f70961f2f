/**
 * A step on the wire, from the root to its workers.
 *
 *     4 words of 32 bits a row (wire.ts)        as many rows as fit with the embeddings
 *     rows of the embedding                     as the model's file has them, for workers that have no file
 *
 * No rank holds the embedding, which is as large as several layers and of which a step needs a row a token. A worker
 * with the model on its disk reads it there; to others the root sends it along, in the file's own blocks: of Llama 3 8B
 * in blocks of 4 bits that is 2 KB of a token's 530.
 */
import { RunError } from '@fourfold/runtime/errors';
import type { Row } from '../decoder.ts';
import { rowsOfWords, wordsOfRows } from '../wire.ts';

const ROW_BYTES = 16;

/** The bytes of a step of so many rows, each with so many bytes of the embedding. */
export const packetBytes = (rows: number, embeddingBytes: number): number => rows * (ROW_BYTES + embeddingBytes);

export function encodeStep(rows: readonly Row[], embeddings: Uint8Array): Uint8Array {
  return Buffer.concat([new Uint8Array(wordsOfRows(rows).buffer), embeddings]);
}

/**
 * The rows of a packet, and their embeddings of so many bytes each.
 *
 * @throws RunError where it doesn't hold whole rows
 */
export function decodeStep(packet: Uint8Array, embeddingBytes: number): { rows: Row[]; embeddings: Uint8Array } {
  const count = packet.length / packetBytes(1, embeddingBytes);
  if (count < 1 || !Number.isInteger(count)) throw new RunError(`a step of ${packet.length} bytes has no whole rows`);
  const words = new Int32Array(packet.slice(0, count * ROW_BYTES).buffer);
  return { rows: rowsOfWords(words), embeddings: packet.subarray(count * ROW_BYTES) };
}
