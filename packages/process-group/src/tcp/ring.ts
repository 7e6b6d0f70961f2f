/**
 * The ring all-reduce (Patarasuk and Yuan, 2009; Baidu's for deep learning, 2017): each rank talks to two neighbours.
 *
 *     rank       0        1        2          part p starts at rank p+1 and is added up while it goes round;
 *     step 1    p2 ->    p0 ->    p1 ->       after n-1 steps rank p has the sum of part p
 *     step 2    p1 ->    p2 ->    p0 ->
 *     step 3    sum0 ->  sum1 ->  sum2 ->     the sums go round once more: n-1 steps again
 *     step 4    sum2 ->  sum0 ->  sum1 ->
 *
 * Every rank sends 2 (n-1)/n of the tensor, and to one neighbour only: what a switch, or a cable from each machine to
 * the next, can carry at full speed however many they are. The price is 2 (n-1) steps, each of which waits for the one
 * before, and sums that begin at another rank for each part: other roundings than rank order, though the same on all
 * (and bfloat16 is rounded at every step).
 */
import { fold } from '@fourfold/runtime/bytes';
import { BYTES } from '@fourfold/runtime/tensorflow';
import { partStart } from '../traffic.ts';
import type { Reducing } from './tcp.ts';

/** The sum of all ranks' x, or the largest; for a mean the caller divides. */
export async function ringAllReduce(work: Reducing): Promise<void> {
  const { round, x, out, dtype, reduction, members, scratch } = work;
  const n = members.ranks.length;
  const count = x.length / BYTES[dtype];
  const around = (place: number) => (place + 2 * n) % n;
  const part = (bytes: Uint8Array, place: number) => {
    const p = around(place);
    return bytes.subarray(partStart(count, p, n) * BYTES[dtype], partStart(count, p + 1, n) * BYTES[dtype]);
  };
  const [next, previous] = [around(members.rank + 1), around(members.rank - 1)];
  out.set(x);
  await round.met();

  // Reduce-scatter: in step s this rank passes on part rank-s, and adds what it gets to part rank-s-1.
  for (let step = 1; step < n; step++) {
    const sum = part(out, members.rank - step - 1);
    const arrived = scratch.take(sum.length);
    round.send([next], part(out, members.rank - step));
    await Promise.all(round.receive(previous, arrived));
    fold(sum, [arrived, sum], dtype, reduction === 'max' ? 'max' : 'sum');
    scratch.giveBack(arrived);
  }
  const own = part(out, members.rank);

  // All-gather: in step s this rank gets part rank-s, and passes it on just as it came: numbers that a wire has rounded
  // once may change when it rounds them again, and all ranks shall hold the same bits.
  round.send([next], own, own);
  for (let step = 1; step < n; step++) {
    const travelled = await Promise.all(round.receive(previous, part(out, members.rank - step)));
    if (step < n - 1) for (const bytes of travelled) round.pass([next], bytes);
  }
}
