import net from 'node:net';
import { type Lanes, openLanes } from '@fourfold/process-group/lanes';
import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { gatherLogits, lanesAsRanks, logitBytes } from '../src/cluster/lane-ranks.ts';
import type { Row } from '../src/decoder.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});
const opened: Lanes[] = [];
afterEach(() => {
  for (const lanes of opened.splice(0)) lanes.close();
});

function laneOf(rank: number, sockets: readonly (net.Socket | undefined)[]): Lanes {
  const lanes = openLanes({ rank, sockets, names: ['the root', 'a'], format: 'float32', timeoutMs: 5000 });
  opened.push(lanes);
  return lanes;
}

async function connected(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const arrival = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const one = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const other = await arrival;
  server.close();
  return [one, other];
}

/** Ranks 0 and 1 in this process: rank 1 may send, for what is sent waits in the kernel until rank 0 reads it. */
async function pair(): Promise<[Lanes, Lanes]> {
  const [one, other] = await connected();
  return [laneOf(0, [undefined, one]), laneOf(1, [other, undefined])];
}

const row = (wanted: Row['wanted']): Row => ({ token: 0, slot: 0, position: 0, wanted });

test('parts of five logits on two ranks come together: all of them, and the two best of all', async () => {
  const [root, worker] = await pair();
  const rows = [row('all'), row('nothing'), row(2)];
  const part = (values: number[], ids: number[], first: number) => [
    { values: Float32Array.from(values), logSumExp: Math.log(values.reduce((sum, x) => sum + Math.exp(x), 0)) },
    {
      ids: Int32Array.from(ids),
      values: Float32Array.from(ids, (id) => values[id - first] as number),
      logSumExp: 1,
    },
  ];
  expect(gatherLogits(worker, 5, rows, part([7, 4], [3, 4], 3))).toEqual([]);
  const [all, best] = gatherLogits(root, 5, rows, part([5, 6, 1], [1, 0], 0));
  expect([...(all?.values ?? [])]).toEqual([5, 6, 1, 7, 4]);
  const exact = Math.log([5, 6, 1, 7, 4].reduce((sum, x) => sum + Math.exp(x), 0));
  expect(all?.logSumExp).toBeCloseTo(exact, 6); // each part's is a float32
  expect([[...(best?.ids ?? [])], [...(best?.values ?? [])]]).toEqual([
    [3, 1],
    [7, 6],
  ]);
  expect(best?.logSumExp).toBeCloseTo(1 + Math.log(2), 6);
  expect(root.cost.received).toBe(logitBytes(rows, 5, 1, 2));
});

test('nothing travels where no row wants logits; else 4 bytes for each number of the part', async () => {
  const [root, worker] = await pair();
  expect([gatherLogits(worker, 5, [row('nothing')], []), gatherLogits(root, 5, [row(0)], [])]).toEqual([[], []]);
  expect(root.cost.received).toBe(0);
  expect(logitBytes([row('all')], 5, 0, 2)).toBe(4 * (3 + 1));
  expect(logitBytes([row(2), row(100)], 5, 1, 2)).toBe(4 * (5 + 5)); // two ids, two values, and the log of the sum
});

test('a sum without anything to add it to is the sum alone', async () => {
  const [one, other] = await connected();
  const ranks = lanesAsRanks(laneOf(0, [undefined, one]));
  expect([ranks.rank, ranks.size]).toEqual([0, 2]);
  const peers = Float32Array.of(100, 200); // what rank 1 sends of each sum: the numbers and nothing else
  for (let i = 0; i < 2; i++) await new Promise((resolve) => other.write(new Uint8Array(peers.buffer), resolve));
  const [part_ND, onto_ND] = [tf.tensor2d([[1, 2]]), tf.tensor2d([[10, 20]])];
  expect([...(await ranks.sum(part_ND, undefined)).dataSync()]).toEqual([101, 202]);
  expect([...(await ranks.sum(part_ND, onto_ND)).dataSync()]).toEqual([111, 222]);
  other.destroy();
});
