import { RunError, UserError } from '@fourfold/runtime/errors';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Lane } from '../src/tcp/connection.ts';
import { openEndpoint } from '../src/tcp/endpoint.ts';
import { endpoints, memoryStore, sleep, until } from './sockets.ts';

const lane = (number: number): Lane => ({ kind: 'call', group: 1, number });
const text = (words: string) => new TextEncoder().encode(words);

/** Sends and receives one frame between each two ranks. */
async function allTalk(size: number): Promise<string[][]> {
  const all = await endpoints(size);
  return Promise.all(
    all.map((endpoint, rank) => {
      const peers = all.map((_, peer) => peer).filter((peer) => peer !== rank);
      for (const peer of peers) endpoint.to(peer).send(lane(0), text(`${rank} to ${peer}`));
      return Promise.all(
        peers.map(async (peer) => new TextDecoder().decode(await endpoint.to(peer).receive(lane(0), 'test'))),
      );
    }),
  );
}

test.each([1, 2, 5])('%i ranks are all connected with one another', async (size) => {
  const heard = await allTalk(size);
  for (const [rank, words] of heard.entries())
    expect(words).toEqual(heard.map((_, peer) => `${peer} to ${rank}`).filter((_, peer) => peer !== rank));
});

test('there is no connection to oneself, or beyond the world', async () => {
  const [zero] = await endpoints(2);
  expect(() => zero?.to(0)).toThrow('rank 0 is not connected to rank 0');
  expect(() => zero?.to(2)).toThrow('rank 0 is not connected to rank 2');
});

test('a group’s number depends on its name alone, is of 32 bits, and another name has another one', async () => {
  const [one, other] = await endpoints(2);
  if (!one || !other) throw new Error('two were asked for');
  const names = fc.uniqueArray(fc.string({ maxLength: 20 }), { maxLength: 20 });
  fc.assert(
    fc.property(names, (all) => {
      const numbers = all.map((name) => one.groupNumber(name));
      expect(all.map((name) => other.groupNumber(name))).toEqual(numbers);
      expect(new Set(numbers).size).toBe(all.length);
      for (const number of numbers) expect(number).toBe(number >>> 0);
    }),
    { numRuns: 20 },
  );
  expect(one.groupNumber('a')).toBe(0xe40c292c); // FNV-1a of 'a', from its authors' tables
  expect(one.groupNumber('costarring')).toBe(0x5e4daa9d);
  expect(() => one.groupNumber('liquid')).toThrow('groups liquid and costarring have the same number');
});

test('who gives up while ranks meet tells whom it has met, and they wait no longer', async () => {
  const common = { worldSize: 3, attempt: 0, secret: 'sixteen letters!', store: memoryStore(), timeout: 5000 };
  const begin = performance.now();
  const two = [300, 5000].map((meetingTimeout, rank) => openEndpoint({ ...common, rank, meetingTimeout }));
  const outcomes = await Promise.allSettled(two);
  const sentence = 'rank 0 did not meet rank 2 within 0.3 s';
  expect(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason)).toEqual([
    new UserError(sentence),
    new RunError(sentence),
  ]);
  expect(performance.now() - begin).toBeLessThan(2000);
});

test('a rank that fails tells all others why, and every wait ends', async () => {
  const all = await endpoints(3);
  const waits = [all[1]?.to(0).receive(lane(0), 'barrier'), all[2]?.to(1).receive(lane(0), 'barrier')];
  const own = all[0]?.to(1).receive(lane(0), 'barrier');
  const outcomes = Promise.allSettled([own, ...waits]);
  await all[0]?.fail(new Error('no memory left'));
  const reasons = (await outcomes).map((outcome) => String((outcome as PromiseRejectedResult).reason?.message));
  expect(reasons[0]).toBe('no memory left');
  for (const reason of reasons.slice(1)) expect(reason).toMatch(/^rank \d stopped: .*no memory left$/);
  expect(all.map((endpoint) => endpoint.failure?.message)[1]).toContain('no memory left');
});

test('the first failure is the one that counts', async () => {
  const [zero] = await endpoints(2);
  await Promise.all([zero?.fail(new Error('first')), zero?.fail(new Error('second'))]);
  expect(zero?.failure?.message).toBe('first');
  await expect(zero?.to(1).receive(lane(0), 'barrier')).rejects.toThrow('first');
});

test('a rank that ended is told of to those that wait for it, also long afterwards', async () => {
  const [zero, one, two] = await endpoints(3);
  const waiting = zero?.to(1).receive(lane(0), 'allReduce (group tp)');
  const message = waiting?.then(String, (error: Error) => error.message);
  await one?.close();
  expect(await message).toBe('rank 1 has ended, and rank 0 waits for it in allReduce (group tp)');
  await until(() => two?.failure !== undefined); // rank 0 told it
  const [a, b] = await endpoints(2);
  await b?.close();
  await sleep(1200); // both connections are long closed
  const late = a?.to(1).receive(lane(0), 'barrier (group world)');
  await expect(late).rejects.toThrow('rank 1 has ended, and rank 0 waits for it in barrier (group world)');
});

test('one that ended hurts nobody who does not wait for it', async () => {
  const [zero, one, two] = await endpoints(3);
  await one?.close();
  await sleep(50);
  two?.to(0).send(lane(0), text('here'));
  expect((await zero?.to(2).receive(lane(0), 'x'))?.length).toBe(4);
  expect(zero?.failure).toBeUndefined();
});

test('after the time-out the one waited for longest is named, and what it has called instead', async () => {
  const [zero, one] = await endpoints(2, 200);
  one?.to(0).send(lane(3), text('barrier'));
  const begin = performance.now();
  await expect(zero?.to(1).receive(lane(0), 'allReduce (group tp)')).rejects.toThrow(
    /^rank 0 waited 0.2 s for rank 1 in allReduce \(group tp\): rank 1 has called barrier$/,
  );
  expect(performance.now() - begin).toBeLessThan(400);
});

test('a closed endpoint waits for nobody', async () => {
  const [zero] = await endpoints(2);
  await zero?.close();
  await zero?.close();
  await expect(zero?.to(1).receive(lane(0), 'x')).rejects.toThrow('this group is closed');
});
