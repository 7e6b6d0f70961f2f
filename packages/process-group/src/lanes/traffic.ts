/**
 * The bytes of a sum over lanes, from which everything else of a token's traffic follows.
 *
 *     b  a message: N rows of D numbers          float32 4·N·D, bfloat16 2·N·D, q80 N·(D + ⌈D/32⌉)
 *     directly        each rank sends (n-1)·b, and receives as much
 *     in two steps    2(n-1)/n·b, to within a block; taken where it saves 64 KiB
 */
import type { TransferFormat } from './lanes.ts';

/** Numbers of a block, which messages are cut between. */
const BLOCK = 32;
/** What two steps must save. */
const WORTH_A_HOP = 1 << 16;

/** Bytes of the first `blocks` blocks of rows of D numbers. */
function bytesOfBlocks(blocks: number, dim: number, format: TransferFormat): number {
  const perRow = Math.ceil(dim / BLOCK);
  const numbers = Math.floor(blocks / perRow) * dim + (blocks % perRow) * BLOCK;
  return format === 'float32' ? 4 * numbers : format === 'bfloat16' ? 2 * numbers : numbers + blocks;
}

/** Bytes that rank 0 of n sends in a sum of [rows, dim], and receives. */
export function sumBytes(rows: number, dim: number, format: TransferFormat, n: number) {
  const blocks = rows * Math.ceil(dim / BLOCK);
  const message = bytesOfBlocks(blocks, dim, format);
  const direct = (n - 1) * message;
  if (direct - Math.floor((2 * direct) / n) <= WORTH_A_HOP) return { sent: direct, received: direct };
  const slice = bytesOfBlocks(Math.floor(blocks / n), dim, format);
  const both = message - slice + (n - 1) * slice;
  return { sent: both, received: both };
}
