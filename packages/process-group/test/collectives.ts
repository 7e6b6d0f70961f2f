/**
 * One program that calls every collective, over dtypes and shapes, and returns all that each call gave in bytes: every
 * transport must return the same. It knows nothing of transports; the GPU machine runs it over NCCL.
 */
import { type DType, keyOf, normals, randomWords } from '@fourfold/runtime';
import { bytesOf } from '@fourfold/runtime/bytes';
import { cast, dtypeOf } from '@fourfold/runtime/tensorflow';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { ProcessGroup, TensorSpec } from '../src/index.ts';

/** Shapes whose first axis is to be a multiple of the group's size are written with -1 there. */
export const SHAPES: readonly number[][] = [[], [1], [7], [0], [3, 0, 2], [2, 3, 5], [129, 33]];
export const SPLIT_SHAPES: readonly (readonly [shape: number[], axis: number])[] = [
  [[-1], 0],
  [[-1, 5], 0],
  [[3, -1, 2], 1],
  [[1, -1], 1],
  [[0, -1], 1],
  [[101, -1], 1],
];

export type Results = Map<string, { spec: TensorSpec; bytes: Uint8Array }>;

/** Numbers that depend on the name and the rank alone. */
export function tensorOf(name: string, rank: number, shape: number[], dtype: DType): Tensor {
  const size = shape.reduce((product, side) => product * side, 1);
  const key = keyOf(7, `${name} rank ${rank}`);
  if (dtype === 'int32') return tf.tensor(Int32Array.from(randomWords(key, 0, size)), shape, 'int32');
  const wide = tf.tensor(normals(key, 0, size, 3), shape, 'float32');
  if (dtype === 'float32') return wide;
  const narrow = cast(wide, dtype);
  wide.dispose();
  return narrow;
}

/** Every collective once for each dtype and shape. */
export async function everyCollective(group: ProcessGroup, dtypes: readonly DType[]): Promise<Results> {
  const results: Results = new Map();
  const keep = async (name: string, y: Tensor) => {
    const { view, giveBack } = await bytesOf(y);
    results.set(name, { spec: { shape: y.shape, dtype: dtypeOf(y) }, bytes: Uint8Array.from(view) });
    giveBack();
    y.dispose();
  };
  for (const dtype of dtypes) {
    for (const shape of SHAPES) await wholeTensors(group, dtype, shape, keep);
    for (const [sides, axis] of SPLIT_SHAPES) await splitTensors(group, dtype, sides, axis, keep);
  }
  await group.barrier();
  return results;
}

type Keep = (name: string, y: Tensor) => Promise<void>;

async function wholeTensors(group: ProcessGroup, dtype: DType, shape: number[], keep: Keep): Promise<void> {
  const { rank, size } = group;
  const name = `${dtype} [${shape}]`;
  const x = tensorOf(name, rank, shape, dtype);
  const reductions = dtype === 'int32' ? (['sum', 'max'] as const) : (['sum', 'max', 'mean'] as const);
  for (const reduction of reductions) await keep(`allReduce ${reduction} ${name}`, await group.allReduce(x, reduction));
  for (const root of new Set([0, size - 1])) await keep(`broadcast ${root} ${name}`, await group.broadcast(x, root));
  for (const axis of shape.keys()) {
    await keep(`allGather ${axis} ${name}`, await group.allGather(x, axis));
    const sizes = group.ranks.map((_, r) => (r * 2) % 3); // uneven, and one in three brings nothing
    const sides = shape.map((side, i) => (i === axis ? (sizes[rank] as number) : side));
    const uneven = tensorOf(`uneven ${name}`, rank, sides, dtype);
    await keep(`allGather ${axis} uneven ${name}`, await group.allGather(uneven, axis, sizes));
    uneven.dispose();
  }
  if (size > 1) {
    const [next, previous] = [(rank + 1) % size, (rank + size - 1) % size];
    const like = { shape, dtype };
    const received = await group.sendReceive([
      { send: x, to: next },
      { receiveFrom: previous, like },
      { receiveFrom: next, like },
      { send: x, to: previous },
    ]);
    for (const [i, y] of received.entries()) await keep(`sendReceive ${i} ${name}`, y);
  }
  x.dispose();
}

async function splitTensors(group: ProcessGroup, dtype: DType, sides: number[], axis: number, keep: Keep) {
  const shape = sides.map((side) => (side < 0 ? 3 * group.size : side));
  const name = `${dtype} [${shape}] axis ${axis}`;
  const x = tensorOf(name, group.rank, shape, dtype);
  const reduction = dtype === 'int32' ? 'sum' : 'mean';
  await keep(`reduceScatter ${name}`, await group.reduceScatter(x, axis));
  await keep(`reduceScatter ${reduction} ${name}`, await group.reduceScatter(x, axis, reduction));
  await keep(`allToAll ${name}`, await group.allToAll(x, axis));
  x.dispose();
}
