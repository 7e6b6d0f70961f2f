import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { spmd } from '../src/index.ts';
import { doorsOf, type Fate, faultChild, type RankUnderTest } from './fault-ranks.ts';
import { type HostResult, hostProgram } from './host-program.ts';
import { ADDRESSES, type Badness, connectHosts, type Hosts, whyNoHosts, whyNoSlowLink } from './hosts.ts';
import { until } from './launch-command.ts';
import { environmentOf, useTensorflow } from './worlds.ts';

const hostChild = fileURLToPath(new URL('host-child.mts', import.meta.url));
const noHosts = whyNoHosts();
const noSlowLink = whyNoSlowLink();
for (const why of new Set([noHosts, noSlowLink])) if (why) console.warn(`skipped: ${why}`);

beforeAll(useTensorflow);

let hosts: Hosts | undefined;
const ranks: RankUnderTest[] = [];
afterEach(async () => {
  for (const rank of ranks.splice(0)) rank.process.kill('SIGKILL'); // those of tests that failed
  await hosts?.remove();
  hosts = undefined;
});

/** Starts `count` ranks of a world on two hosts, the first half here, the second there. */
async function onTwoHosts(size: number, command: readonly string[], badness?: Badness, count = size) {
  hosts = await connectHosts(badness);
  for (let rank = 0; rank < count; rank++) {
    const env = { ...environmentOf(rank, size, 29500), MASTER_ADDR: ADDRESSES[0] };
    ranks.push(hosts.start(rank < size / 2 ? 0 : 1, command, env));
  }
  return ranks;
}

/** Runs hostProgram on two hosts and in this process; expects the same bits, and returns rank 0's times. */
async function expectSameBits(size: number, badness?: Badness): Promise<Record<string, number>> {
  const started = await onTwoHosts(size, [hostChild], badness);
  const fates = await Promise.all(started.map(({ fate }) => fate));
  expect(fates.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(size).fill({ code: 0, stderr: '' }));
  const results = fates.map(({ stdout }) => JSON.parse(stdout) as HostResult);
  const local = await spmd(size, hostProgram);
  expect(results.map(({ digests }) => digests)).toEqual(local.map(({ digests }) => digests));
  return (results[0] as HostResult).times;
}

test.skipIf(noHosts).each([2, 4])('%d ranks on two hosts get the bits that local gets', async (size) => {
  await expectSameBits(size);
});

test.skipIf(noSlowLink)('the same over 20 ms of delay and 1 % loss each way', async () => {
  const badness = { delay: 20, loss: 0.01 };
  const times = await expectSameBits(2, badness);
  expect(times['allReduce 4194304 bytes']).toBeGreaterThan(60); // three ways, one after the other, of 20 ms each
  expect(([0, 1] as const).map((host) => hosts?.sentAgain(host))).toEqual([
    expect.toSatisfy((count) => count > 10), // one in a hundred of 3000
    expect.toSatisfy((count) => count > 10),
  ]);
});

test.skipIf(noHosts)('the cable is pulled while they wait: the time-out names who is not heard', async () => {
  const program = [faultChild, '--timeout', '2', 'allReduce 100000', 'sleep 1', 'allReduce 100000'];
  const started = await onTwoHosts(2, program);
  await Promise.all(started.map((rank) => rank.said(/sleep/)));
  hosts?.cut();
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
  hosts = await connectHosts();
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

test.skipIf(noHosts)('the doors of the store and of a rank are open on its own address alone', async () => {
  const [first] = (await onTwoHosts(2, [faultChild, 'barrier'], undefined, 1)) as [RankUnderTest];
  const doors = await until(() => {
    const open = doorsOf(first.pid);
    return open.length === 2 ? open : undefined;
  });
  expect(doors.map(({ host }) => host)).toEqual([ADDRESSES[0], ADDRESSES[0]]);
});
