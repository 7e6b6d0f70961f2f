/**
 * One program, as coroutines in one process and as processes of their own.
 *
 *     npx tsx packages/process-group/examples/hello.ts                            4 ranks in this process
 *     npx fourfold launch --nproc 4 packages/process-group/examples/hello.ts      4 processes, over tcp
 *
 * The ranks make a mesh, dp=2 x tp=2. Each adds up its number within its row and within its column; then everybody
 * passes its number on to the next.
 */
import { createMesh, inWorld, type ProcessGroup, specOf, spmd } from '@fourfold/process-group';
import { exitWith, openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';

async function rank(world: ProcessGroup): Promise<void> {
  const mesh = await createMesh(world, { dp: 2, pp: 1, cp: 1, tp: 2 });
  const mine = tf.scalar(10 ** world.rank);

  const inRow = mesh.tp.allReduce(mine); // both are under way,
  const inColumn = mesh.dp.allReduce(mine);
  const [row, column] = [await inRow, await inColumn]; // and waited for here

  const [next, previous] = [(world.rank + 1) % world.size, (world.rank + world.size - 1) % world.size];
  const [passed] = await world.sendReceive([
    { send: mine, to: next },
    { receiveFrom: previous, like: specOf(mine) },
  ]);

  const [r, c, p] = [row, column, passed as tf.Tensor].map((x) => x.dataSync()[0]);
  console.log(`${mesh.label}: row ${r}, column ${c}, from rank ${previous} ${p}`);
  tf.dispose([mine, row, column, passed as tf.Tensor]);
}

await openBackend();
const isLaunched = process.env['WORLD_SIZE'] !== undefined;
await (isLaunched ? inWorld({}, rank) : spmd(4, rank)).catch(exitWith);
