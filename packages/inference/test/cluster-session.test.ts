import type net from 'node:net';
import { openBackend } from '@fourfold/runtime';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { Control } from '../src/cluster/control.ts';
import { fingerprintOf } from '../src/cluster/offer.ts';
import { encodeStep } from '../src/cluster/packet.ts';
import { Session } from '../src/cluster/session.ts';
import { SliceCache } from '../src/cluster/slice-cache.ts';
import type { Row } from '../src/decoder.ts';
import { chooseOptions } from '../src/load.ts';
import { newFolder, SECRET, socketPair } from './cluster-processes.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});
const sockets: net.Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function pair(): Promise<[net.Socket, net.Socket]> {
  const both = await socketPair();
  sockets.push(...both);
  return both;
}

/** A worker's session that has this model, and the root's end of it. */
async function begin(model = tinyModel(TINY_WIDE)) {
  const [rootsEnd, workersEnd] = await pair();
  const lines: string[] = [];
  const options = { version: '0.1.0', secret: SECRET, model, cache: new SliceCache(newFolder()) };
  const log = (line: string) => void lines.push(line);
  const session = new Session(new Control(workersEnd, 'the root', 5000), { ...options, log });
  return { session, ended: session.run(), root: new Control(rootsEnd, 'the worker', 5000), lines };
}

const offer = {
  ...{ version: '0.1.0', session: 7, rank: 1, workers: [{ host: '127.0.0.1', port: 1 }], shape: TINY_WIDE },
  ...{ fingerprint: fingerprintOf(tinyModel(TINY_WIDE)), sharing: chooseOptions(tinyModel(TINY_WIDE)) },
  ...{ transfers: 'float32', timeoutMs: 5000 },
};

/** Takes the session as far as steps; the lane goes nowhere, since a refused step never comes to a sum. */
async function untilReady() {
  const begun = await begin();
  begun.root.tell('offer', offer);
  await begun.root.expect('answer');
  const [lane] = await pair();
  expect(begun.session.refuseLane(7, 0)).toBeUndefined();
  begun.session.enterLane(0, lane);
  begun.root.send('meet');
  await begun.root.expect('met');
  await begun.root.expect('ready');
  return begun;
}

test('a worker with another model refuses by its name, and both ends hear of it', async () => {
  const { root, ended, lines } = await begin(tinyModel(TINY_WIDE, 'f32', undefined, 2));
  root.tell('offer', offer);
  const why = "its --model tiny is another model than the root's";
  await expect(root.expect('answer')).rejects.toThrow(`the worker says: ${why}`);
  await ended;
  expect(lines).toEqual([why]);
});

test('a root of another version is refused, and so is a shape that asks for the impossible', async () => {
  for (const [part, why] of [
    [{ version: '0.2.0' }, 'it runs fourfold 0.1.0, and the root 0.2.0: install the same on both'],
    [{ shape: { ...TINY_WIDE, vocabulary: 2 ** 31 } }, `model.embed_tokens.weight of ${2 ** 31} x 128 weights`],
    [{ rank: 2 }, 'rank 2 of too few'],
  ] as const) {
    const { root, ended } = await begin();
    root.tell('offer', { ...offer, ...part });
    await expect(root.expect('answer')).rejects.toThrow(why);
    await ended;
  }
});

test('lanes are let in once, of this session and of ranks that are due', async () => {
  const { session } = await untilReady();
  for (const [number, rank] of [
    [7, 0],
    [7, 1],
    [8, 0],
  ] as const)
    expect(session.refuseLane(number, rank)).toBe(`no lane of rank ${rank} is due here`);
});

test.each<[string, Partial<Row>]>([
  ['token 300 of slot 0', { token: 300 }],
  ['slot 1 at position 0: there are 300 tokens, 1 slots', { slot: 1 }],
  ['position 9 of slot 0 is not due: the slot holds 0', { position: 9 }],
])('a step never comes to a kernel with %s', async (says, part) => {
  const { root, ended, lines } = await untilReady();
  root.send('step', encodeStep([{ token: 1, slot: 0, position: 0, wanted: 1, ...part }], new Uint8Array(0)));
  await expect(root.next()).rejects.toThrow(says);
  await ended;
  expect(lines.join('\n')).toContain(says);
});

test('a copy of what no slot holds, and a frame out of turn, end the session too', async () => {
  const copying = await untilReady();
  copying.root.send('copy', new Uint8Array(Int32Array.of(0, 0, 5).buffer));
  await expect(copying.root.next()).rejects.toThrow('5 positions of slot 0 to slot 0: slot 0 holds 0');
  const early = await untilReady();
  early.root.send('meet');
  await expect(early.root.next()).rejects.toThrow("a 'meet' came where a step was due");
  await Promise.all([copying.ended, early.ended]);
});
