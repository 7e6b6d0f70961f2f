/** Ranks on two hosts: four of them, over a link that is slow and loses packets, and behind a cable that is pulled. */
import { expect, test } from 'vitest';
import { type Fate, faultChild } from './fault-ranks.ts';
import { expectSameBits, noHosts, noSlowLink, onTwoHosts, openHosts } from './host-ranks.ts';
import { ADDRESSES } from './hosts.ts';
import { environmentOf } from './worlds.ts';

test.skipIf(noHosts)('4 ranks on two hosts get the bits that local gets', async () => {
  await expectSameBits(4);
});

test.skipIf(noSlowLink)('the same over 20 ms of delay and 1 % loss each way', async () => {
  const badness = { delay: 20, loss: 0.01 };
  const { times, hosts } = await expectSameBits(2, badness);
  expect(times['allReduce 4194304 bytes']).toBeGreaterThan(60); // three ways, one after the other, of 20 ms each
  expect(([0, 1] as const).map((host) => hosts.sentAgain(host))).toEqual([
    expect.toSatisfy((count) => count > 10), // one in a hundred of 3000
    expect.toSatisfy((count) => count > 10),
  ]);
});

test.skipIf(noHosts)('the cable is pulled while they wait: the time-out names who is not heard', async () => {
  const program = [faultChild, '--timeout', '2', 'allReduce 100000', 'sleep 1', 'allReduce 100000'];
  const { ranks: started, hosts } = await onTwoHosts(2, program);
  await Promise.all(started.map((rank) => rank.said(/sleep/)));
  hosts.cut();
  const begin = performance.now();
  const fates = await Promise.all(started.map(({ fate }) => fate));
  for (const [rank, { code, stderr, at }] of (fates as Fate[]).entries()) {
    expect(code).toBe(1);
    expect(stderr).toBe(
      `rank ${rank} waited 2 s for rank ${1 - rank} in allReduce(sum) of float32 [100000] (group world): ` +
        `rank ${1 - rank} has not called it\n`,
    );
    expect(at - begin).toBeLessThan(1000 + 2000 + 3000);
  }
});

test.skipIf(noHosts)('a host that does not answer, behind a cable that is pulled', async () => {
  const hosts = await openHosts();
  hosts.cut();
  const env = { ...environmentOf(1, 2, 29500), MASTER_ADDR: ADDRESSES[0] };
  const rank = hosts.start(1, [faultChild, '--meeting', '2', 'barrier'], env);
  await rank.said(/start/);
  const begin = performance.now();
  const { code, stderr, at } = await rank.fate;
  expect(code).toBe(2);
  expect(stderr).toMatch(
    /^rank 1: no answer from 10\.77\.0\.1:29500 within 2 s: is rank 0 running, and is the port open/,
  );
  expect(at - begin).toBeLessThan(4000);
});
