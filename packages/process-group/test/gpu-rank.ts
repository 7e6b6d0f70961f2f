/**
 * One rank of the collectives' test on GPUs: every collective over NCCL, bit by bit against local on this rank's GPU.
 *
 *     npx fourfold launch --nproc 2 packages/process-group/test/gpu-rank.ts
 *
 * With two ranks: a sum of three would be taken in NCCL's order, not in ours. Then what only a GPU can show: work
 * beside a collective, when both ran by the GPU's clock, groups of a mesh, and that it all leaves no tensor behind.
 */
import { memory, openBackend, read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { createMesh, type DeviceSpan, inWorld, type ProcessGroup, spmd, startDeviceTrace } from '../src/index.ts';
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

/** By the GPU's clock: a sum starts when what it adds up is there, runs beside products, and ends before its use. */
async function traced(world: ProcessGroup): Promise<string> {
  const w = tf.fill([4096, 4096], 1);
  tf.dispose([tf.matMul(w, w), tf.neg(w)]); // the first of a kind takes longer
  const stop = await startDeviceTrace(world);
  const x = tf.fill([1 << 24], world.rank);
  const pending = world.allReduce(x);
  const products = Array.from({ length: 8 }, () => tf.matMul(w, w));
  const sum = await pending;
  const used = tf.neg(sum);
  const spans = (await stop?.())?.spans ?? [];
  tf.dispose([w, x, ...products, sum, used]);
  const named = (name: RegExp): DeviceSpan[] => spans.filter((span) => name.test(span.name));
  const [fill, call, use] = [/^Fill$/, /^allReduce$/, /^Neg$/].map((name) => named(name)[0]);
  check(!!fill && !!call && !!use, `the trace has what ran: ${spans.map(({ name }) => name)}`);
  const [made, start, end, taken] = [fill?.end, call?.start, call?.end, use?.start] as [number, number, number, number];
  const beside = named(/MatMul/).filter((product) => product.start < end && product.end > start).length;
  const times = `all-reduce of 64 MiB from ${start.toFixed(3)} to ${end.toFixed(3)} ms beside ${beside} of 8 products`;
  const tick = 0.005; // what the GPU's clock may be wrong by from stream to stream
  check(made < start + tick && start < end && end < taken + tick, `${made} < ${start} < ${end} < ${taken}`);
  check(beside > 0 && spans.every((span) => span.start >= 0 && span.start <= span.end), times);
  return times;
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
  for (let i = 0; i < 2; i++) console.log(`rank ${world.rank}: ${await traced(world)}`);
  await meshes(world);
  await world.drained();
  const after = memory();
  check(before.tensors === after.tensors && before.bytes === after.bytes, 'no tensor is left');
  console.log(`rank ${world.rank}: ${count} results over NCCL have local's bits`);
});
