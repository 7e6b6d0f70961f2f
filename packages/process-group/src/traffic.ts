/**
 * How many bytes of tensors a rank of n sends in a collective where each pair of ranks talks directly.
 *
 *     allReduce       2 (n-1)/n · bytes    its n-1 foreign parts away, then the sum of its own part to n-1 ranks
 *     reduceScatter     (n-1)/n · bytes    the first half of that
 *     allGather         (n-1)   · bytes    its part to n-1 ranks
 *     broadcast         (n-1)   · bytes    at the root
 *     allToAll          (n-1)/n · bytes
 *
 * A ring sends the same, in 2(n-1) steps instead of two. The local transport sends nothing and counts this, so that a
 * laptop shows what the same layout would cost on a network.
 */
import { BYTES } from '@fourfold/runtime/tensorflow';
import { sizeOf, type TensorSpec } from './calls.ts';

export const bytesOf = ({ shape, dtype }: TensorSpec): number => sizeOf(shape) * BYTES[dtype];

/** Where part `rank` of `count` elements begins, if n ranks share them as evenly as can be. */
export const partStart = (count: number, rank: number, n: number): number => Math.floor((count * rank) / n);

/** All but the own part, and the own part to all others. */
export function allReduceBytes(spec: TensorSpec, rank: number, n: number): number {
  const count = sizeOf(spec.shape);
  const own = partStart(count, rank + 1, n) - partStart(count, rank, n);
  return (count - own + (n - 1) * own) * BYTES[spec.dtype];
}

export const allGatherBytes = (spec: TensorSpec, n: number): number => (n - 1) * bytesOf(spec);
