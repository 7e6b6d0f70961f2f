import type net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Control } from '../src/cluster/control.ts';
import { hashOf, SliceCache } from '../src/cluster/slice-cache.ts';
import { receiveShare, sendShare } from '../src/cluster/stream.ts';
import { EMBEDDING, partOf, shareOf } from '../src/slices.ts';
import { newFolder, socketPair } from './cluster-processes.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

const SHAPE = { ...TINY_WIDE, tied: false };
const sockets: net.Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

async function pair() {
  const [one, other] = await socketPair();
  sockets.push(one, other);
  return { root: new Control(one, 'the worker', 5000), worker: new Control(other, 'the root', 5000) };
}

test('a share arrives bit by bit as it was, whole tensors or parts, and the second time from the cache', async () => {
  const [model, share] = [tinyModel(SHAPE, 'q80'), shareOf(SHAPE, 1, 2, true)];
  const cache = new SliceCache(newFolder());
  for (const again of [false, true]) {
    const { root, worker } = await pair();
    const [told, received] = await Promise.all([sendShare(root, model, share), receiveShare(worker, cache, SHAPE)]);
    expect([told.sent === 0, told.had === 0]).toEqual([again, !again]);
    for (const name of model.tensors.keys()) {
      const part = partOf(name, SHAPE, share);
      if (part) expect(received.read(name, part), name).toEqual(model.read(name, part));
    }
    expect(() => received.read('model.norm.weight', { rows: [0, 1] })).toThrow('or another part of it');
    const row = (token: number) => model.read(EMBEDDING, { rows: [token, token + 1] });
    received.putEmbeddings([5, 9], new Uint8Array(Buffer.concat([row(5), row(9)])));
    expect(received.read(EMBEDDING, { rows: [9, 10] })).toEqual(new Uint8Array(row(9)));
    expect(() => received.read(EMBEDDING, { rows: [6, 7] })).toThrow(`the root has not sent ${EMBEDDING}`);
  }
});

const bytes = new Uint8Array(4 * TINY_WIDE.dim).fill(1);
const note = {
  ...{ name: 'model.norm.weight', format: 'f32', shape: [TINY_WIDE.dim] },
  ...{ bytes: bytes.length, sha256: hashOf(bytes) },
};

test.each<[string, object, string]>([
  ['a tensor that no such model has', { name: 'model.extra.weight' }, 'of which this model has none'],
  ['other sides than the shape has', { shape: [1024], bytes: 4096 }, 'model.norm.weight of 1024, where it has 128'],
  ['more bytes than the part has', { bytes: 4 }, '4 bytes of model.norm.weight, which are not that part of it'],
  ['a part past the end', { rows: [0, 129], bytes: 516 }, '516 bytes of model.norm.weight'],
  ['a hash that is none', { sha256: '../../etc' }, 'a slice that makes no sense'],
  ['a format of no block', { format: 'q3' }, 'a slice that makes no sense'],
])('%s is refused before anything is kept', async (_, part, says) => {
  const { root, worker } = await pair();
  root.tell('slice', { ...note, ...part });
  await expect(receiveShare(worker, new SliceCache(newFolder()), TINY_WIDE)).rejects.toThrow(says);
});

test('altered bytes are refused by their hash and are not in the cache; what was left out is named', async () => {
  const cache = new SliceCache(newFolder());
  const altered = await pair();
  altered.root.tell('slice', note);
  altered.root.send('bytes', new Uint8Array(bytes.length));
  await expect(receiveShare(altered.worker, cache, TINY_WIDE)).rejects.toThrow('model.norm.weight arrived altered');
  expect(cache.has(note.sha256, bytes.length)).toBe(false);
  const short = await pair();
  short.root.send('slice');
  await expect(receiveShare(short.worker, cache, TINY_WIDE)).rejects.toThrow(
    'the root left out model.embed_tokens.weight',
  );
});
