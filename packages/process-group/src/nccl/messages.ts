/**
 * The messages of one sendReceive as FourfoldNcclSendReceive takes them (packages/runtime/native/nccl/collectives.cc).
 *
 * A list of tensors that an op takes is of one dtype, and messages may be of three. So the tensors go sorted by dtype,
 * and `plan` tells NCCL in the caller's order what is sent to whom, and what comes from whom in which shape.
 */
import { type DType, dtypeOf } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Transfer } from '../process-group.ts';

/** In the order in which the op takes them. */
const DTYPES: readonly DType[] = ['float32', 'bfloat16', 'int32'];

/** One sendReceive, as the op's inputs and attributes. */
export interface Plan {
  /** Tensors to send: the float32 ones, then bfloat16, then int32. */
  readonly inputs: Tensor[];
  /** Lengths of the op's lists of tensors by the attributes' names: F, H, I to send and P, Q, R to receive. */
  readonly counts: Record<string, number>;
  /** For each message 0, dtype, peer; or 1, dtype, peer, rank of the tensor, its sides. */
  readonly plan: number[];
  /** For each output of the op, its place among the caller's receives. */
  readonly order: number[];
}

/** Sorts the tensors and writes the plan: a few whole numbers a message, in the caller's order. */
export function planOf(transfers: readonly Transfer[]): Plan {
  const sent = DTYPES.map((): Tensor[] => []);
  const received = DTYPES.map((): number[] => []);
  const plan: number[] = [];
  let receives = 0;
  for (const transfer of transfers) {
    if ('send' in transfer) {
      const dtype = DTYPES.indexOf(dtypeOf(transfer.send));
      sent[dtype]?.push(transfer.send);
      plan.push(0, dtype, transfer.to);
    } else {
      const { dtype: name, shape } = transfer.like;
      const dtype = DTYPES.indexOf(name);
      received[dtype]?.push(receives++);
      plan.push(1, dtype, transfer.receiveFrom, shape.length, ...shape);
    }
  }
  const lengths = [...sent, ...received].map((list) => list.length);
  const counts = Object.fromEntries(['F', 'H', 'I', 'P', 'Q', 'R'].map((name, i) => [name, lengths[i] as number]));
  return { inputs: sent.flat(), counts, plan, order: received.flat() };
}
