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

/** Bytes of a tensor, at its true dtype. */
export const bytesOf = ({ shape, dtype }: TensorSpec): number => sizeOf(shape) * BYTES[dtype];

/** Where part `rank` of `count` elements begins, if n ranks share them as evenly as can be. */
export const partStart = (count: number, rank: number, n: number): number => Math.floor((count * rank) / n);

/** Bytes of a slice. Three are lent at the most; see what runtime says of large tensors in bytes.ts. */
const SLICE = 1 << 22;

/**
 * A large tensor is reduced in slices, each an all-reduce of its own: where they begin and end, in bytes. So little of
 * it is lent to JavaScript at a time (see runtime's bytes.ts). An empty tensor is one slice.
 */
export function slicesOf(bytes: number): readonly (readonly [from: number, to: number])[] {
  const count = Math.max(1, Math.ceil(bytes / SLICE));
  return Array.from({ length: count }, (_, i) => [i * SLICE, Math.min((i + 1) * SLICE, bytes)] as const);
}

/** Bytes that rank `rank` of n sends: all but its own part, and the sum of that to all others, of each 4 MiB slice. */
export function allReduceBytes(spec: TensorSpec, rank: number, n: number): number {
  const width = BYTES[spec.dtype];
  const ofSlice = (bytes: number) => {
    const count = bytes / width;
    const own = partStart(count, rank + 1, n) - partStart(count, rank, n);
    return (count - own + (n - 1) * own) * width;
  };
  const bytes = bytesOf(spec);
  const full = Math.max(0, Math.ceil(bytes / SLICE) - 1); // slices before the last
  return full * ofSlice(SLICE) + ofSlice(bytes - full * SLICE);
}

/** Bytes that a rank of n with a part like `spec` sends: the part, to each of the others. */
export const allGatherBytes = (spec: TensorSpec, n: number): number => (n - 1) * bytesOf(spec);
