/**
 * One rank of the collectives' test on GPUs: every collective over NCCL, bit by bit against local on this rank's GPU.
 *
 *     npx fourfold launch --nproc 2 packages/process-group/test/gpu-rank.ts
 *
 * With two ranks: a sum of three would be taken in NCCL's order, not in ours. Then what only a GPU can show: work
 * beside a collective, groups of a mesh, and that it all leaves no tensor behind.
 */
import { memory, openBackend, read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { createMesh, inWorld, type ProcessGroup, spmd } from '../src/index.ts';
import { everyCollective } from './collectives.ts';

const DTYPES = ['float32', 'int32', 'bfloat16'] as const;

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function sameAsLocal(world: ProcessGroup): Promise<number> {
  const expected = (await spmd(world.size, (local) => everyCollective(local, DTYPES)))[world.rank];
  const results = await everyCollective(world, DTYPES);
  for (const [name, { spec, bytes }] of results) {
    const local = expected?.get(name);
    check(JSON.stringify(local?.spec) === JSON.stringify(spec), `${name} has the same shape`);
    check(Buffer.compare(local?.bytes as Uint8Array, bytes) === 0, `${name} has the same bits`);
  }
  check(results.size === expected?.size, 'as many results');
  return results.size;
}

/** Products between the call and its await, over the memory of tensors that are freed at once. */
async function overlaps(world: ProcessGroup): Promise<void> {
  const w = tf.fill([1024, 1024], 1);
  for (let i = 0; i < 50; i++) {
    const x = tf.fill([1 << 20], world.rank + i);
    const pending = world.allReduce(x);
    x.dispose(); // its memory must not be used anew before the sum is taken
    const busy = Array.from({ length: 4 }, () => tf.matMul(w, w));
    const overwriting = tf.fill([1 << 20], -1);
    const sum = await pending;
    const wrong = tf.tidy(() => tf.sum(tf.abs(tf.sub(sum, 2 * i + 1))));
    check((await wrong.data())[0] === 0, `sum ${i} beside products`);
    tf.dispose([...busy, overwriting, sum, wrong]);
  }
  w.dispose();
}

async function meshes(world: ProcessGroup): Promise<void> {
  const mesh = await createMesh(world, { dp: 1, pp: 1, cp: 1, tp: world.size });
  const x = tf.tensor1d([world.rank, 1]);
  const [inTp, inDp] = await Promise.all([mesh.tp.allReduce(x), mesh.dp.allReduce(x)]);
  check((await read(inTp)).join() === '1,2', 'the sum over tp');
  check((await read(inDp)).join() === `${world.rank},1`, 'the sum over a group of one');
  tf.dispose([x, inTp, inDp]);
  for (const group of [mesh.tp, mesh.dp]) await group.close();
}

await openBackend({ device: 'cuda' });
await inWorld({ transport: 'nccl', timeoutSeconds: 60 }, async (world) => {
  const before = memory();
  const count = await sameAsLocal(world);
  await overlaps(world);
  await meshes(world);
  await world.drained();
  const after = memory();
  check(before.tensors === after.tensors && before.bytes === after.bytes, 'no tensor is left');
  console.log(`rank ${world.rank}: ${count} results over NCCL have local's bits`);
});
