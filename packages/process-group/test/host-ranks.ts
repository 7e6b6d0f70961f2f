/** Worlds whose ranks are on two hosts, which go when a test has ended: hosts.ts. */
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, expect } from 'vitest';
import { spmd } from '../src/index.ts';
import type { RankUnderTest } from './fault-ranks.ts';
import { type HostResult, hostProgram } from './host-program.ts';
import { ADDRESSES, type Badness, connectHosts, type Hosts, whyNoHosts, whyNoSlowLink } from './hosts.ts';
import { environmentOf, useTensorflow } from './worlds.ts';

const hostChild = fileURLToPath(new URL('host-child.mts', import.meta.url));
export const noHosts = whyNoHosts();
export const noSlowLink = whyNoSlowLink();
for (const why of new Set([noHosts, noSlowLink])) if (why) console.warn(`skipped: ${why}`);

beforeAll(useTensorflow);

let hosts: Hosts | undefined;
const ranks: RankUnderTest[] = [];
afterEach(async () => {
  for (const rank of ranks.splice(0)) rank.process.kill('SIGKILL'); // those of tests that failed
  await hosts?.remove();
  hosts = undefined;
});

/** Two hosts until the end of a test. */
export async function openHosts(badness?: Badness): Promise<Hosts> {
  hosts = await connectHosts(badness);
  return hosts;
}

/** Starts `count` ranks of a world on two hosts, the first half here, the second there. */
export async function onTwoHosts(size: number, command: readonly string[], badness?: Badness, count = size) {
  const two = await openHosts(badness);
  for (let rank = 0; rank < count; rank++) {
    const env = { ...environmentOf(rank, size, 29500), MASTER_ADDR: ADDRESSES[0] };
    ranks.push(two.start(rank < size / 2 ? 0 : 1, command, env));
  }
  return { ranks, hosts: two };
}

/** Runs hostProgram on two hosts and in this process; expects the same bits; rank 0's times, and the hosts. */
export async function expectSameBits(size: number, badness?: Badness) {
  const { ranks: started, hosts } = await onTwoHosts(size, [hostChild], badness);
  const fates = await Promise.all(started.map(({ fate }) => fate));
  expect(fates.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(size).fill({ code: 0, stderr: '' }));
  const results = fates.map(({ stdout }) => JSON.parse(stdout) as HostResult);
  const local = await spmd(size, hostProgram);
  expect(results.map(({ digests }) => digests)).toEqual(local.map(({ digests }) => digests));
  return { times: (results[0] as HostResult).times, hosts };
}
