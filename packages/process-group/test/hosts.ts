/**
 * Two hosts on one machine: Linux's network namespaces, each with network devices, addresses and ports of its own, and
 * between them a cable (a pair of veth devices), or a link that is slow and loses packets.
 */
import { execFileSync, spawn } from 'node:child_process';
import { accessSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type RankUnderTest, watch } from './fault-ranks.ts';

const slowLink = fileURLToPath(new URL('slow-link.py', import.meta.url));

/** Runs `ip`, of the package iproute2. */
const ip = (words: string): string => execFileSync('ip', words.split(' '), { encoding: 'utf8', stdio: 'pipe' });

/** Why there can be no two hosts here; undefined where there can. */
export function whyNoHosts(): string | undefined {
  const name = `fourfold-try-${process.pid}`;
  try {
    ip(`netns add ${name}`);
    ip(`netns delete ${name}`);
    return undefined;
  } catch (error) {
    return `two hosts need root, iproute2 and network namespaces: ${(error as Error).message.trim()}`;
  }
}

/** The same for a slow link, which needs netem or TUN devices and Python. */
export function whyNoSlowLink(): string | undefined {
  try {
    accessSync('/dev/net/tun');
    execFileSync('python3', ['--version']);
    return whyNoHosts();
  } catch (error) {
    return `a slow link needs /dev/net/tun and python3: ${(error as Error).message.trim()}`;
  }
}

/** A link's delay in milliseconds and the share of packets that it loses, in each direction. */
export interface Badness {
  readonly delay: number;
  readonly loss: number;
}

export interface Hosts {
  /** Starts `node --import tsx ...command` on host 0 or 1. */
  start(host: 0 | 1, command: readonly string[], env: Record<string, string | undefined>): RankUnderTest;
  /** How many segments of TCP a host has sent again, because they were lost. */
  sentAgain(host: 0 | 1): number;
  /** Unplugs the cable. */
  cut(): unknown;
  remove(): Promise<void>;
}

export const ADDRESSES = ['10.77.0.1', '10.77.0.2'] as const;

let made = 0;

/** Two hosts, with ADDRESSES. */
export async function connectHosts(badness?: Badness): Promise<Hosts> {
  const names = [0, 1].map((host) => `fourfold-${process.pid}-${made}-${host}`) as [string, string];
  made += 1;
  for (const name of names) {
    ip(`netns add ${name}`);
    ip(`-n ${name} link set lo up`);
  }
  const link = badness ? await connectSlowly(names, badness) : connectByCable(names);
  return {
    start: (host, command, env) =>
      watch(
        spawn('ip', ['netns', 'exec', names[host], process.execPath, '--import', 'tsx', ...command], {
          env: { ...process.env, ...env },
        }),
      ),
    sentAgain: (host) => sentAgain(ip(`netns exec ${names[host]} cat /proc/net/snmp`)),
    cut: () => ip(`-n ${names[0]} link set ${link.device} down`),
    async remove() {
      await link.remove();
      for (const name of names) ip(`netns delete ${name}`); // and the cable with it
    },
  };
}

/** Of the two lines on TCP, names and numbers, in what Linux counts. */
function sentAgain(counts: string): number {
  const [names = [], numbers = []] = counts
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '));
  return Number(numbers[names.indexOf('RetransSegs')]);
}

interface Link {
  /** Its end in the first host. */
  readonly device: string;
  remove(): Promise<unknown>;
}

function connectByCable(names: readonly [string, string]): Link {
  ip(`link add cable netns ${names[0]} type veth peer name cable netns ${names[1]}`);
  for (const [i, name] of names.entries()) {
    ip(`-n ${name} address add ${ADDRESSES[i]}/24 dev cable`);
    ip(`-n ${name} link set cable up`);
  }
  return { device: 'cable', remove: async () => {} };
}

/** Not every kernel has netem, so a program forwards the packets: slow-link.py. */
async function connectSlowly([first, second]: readonly [string, string], { delay, loss }: Badness): Promise<Link> {
  const words = [slowLink, String(delay), String(loss), '0', first, ADDRESSES[0], second, ADDRESSES[1]];
  const forwarder = watch(spawn('python3', words));
  await Promise.race([forwarder.said(/ready/), forwarder.fate.then(({ stderr }) => Promise.reject(new Error(stderr)))]);
  const remove = () => {
    forwarder.process.stdin?.end();
    return forwarder.fate;
  };
  return { device: 'slow0', remove };
}
