/**
 * Two and four hosts on one machine: `npx nx run inference:network-proof`.
 *
 *     namespace ff-0   root      10.77.0.1 ─┐
 *     namespace ff-1   worker    10.77.0.2 ─┼─ a bridge in a namespace of its own
 *     ...                                  ─┘      each link 1 Gbit/s, and 0.5 ms one way
 *
 * SmolLM2 writes the same text as on one rank, and the table shows how a token's time is parted. It needs root,
 * iproute2 and a kernel with netem; where that is missing, `-- --no-delay` measures with the rate alone (tbf).
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { exitWith, messageOf, UserError } from '@fourfold/runtime/errors';

const FOURFOLD = fileURLToPath(new URL('../../fourfold/bin/fourfold.mjs', import.meta.url));
const TEXT = ['generate', '--prompt', 'Call me Ishmael.', '--steps', '32', '--threads', '1', '--max-seq-len', '128'];
const EXACT = ['--activations', 'float32']; // rounded activations may tip a near tie, and ranks add up in another order
const ENVIRONMENT = { ...process.env, FOURFOLD_SECRET: 'a secret for the network proof' };
const MOST_HOSTS = 4;

const NAMES = { host: (i: number) => `ff-${process.pid}-${i}`, net: `ff-${process.pid}-net` };
const addressOf = (host: number): string => `10.77.0.${host + 1}`;
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });
const inside = (space: string, ...args: string[]): void => ip('netns', 'exec', space, ...args);

// ## The network

function build(hosts: number, link: readonly string[]): void {
  ip('netns', 'add', NAMES.net);
  inside(NAMES.net, 'ip', 'link', 'add', 'bridge', 'type', 'bridge');
  inside(NAMES.net, 'ip', 'link', 'set', 'bridge', 'up');
  for (let i = 0; i < hosts; i++) {
    const [host, port] = [NAMES.host(i), `port${i}`];
    ip('netns', 'add', host);
    ip('link', 'add', 'eth0', 'netns', host, 'type', 'veth', 'peer', 'name', port, 'netns', NAMES.net);
    inside(NAMES.net, 'ip', 'link', 'set', port, 'master', 'bridge', 'up');
    inside(host, 'ip', 'address', 'add', `${addressOf(i)}/24`, 'dev', 'eth0');
    for (const device of ['lo', 'eth0']) inside(host, 'ip', 'link', 'set', device, 'up');
    inside(host, 'tc', 'qdisc', 'add', 'dev', 'eth0', 'root', ...link);
  }
}

/** What is in a namespace goes with it. */
function remove(hosts: number): void {
  for (const space of [NAMES.net, ...Array.from({ length: hosts }, (_, i) => NAMES.host(i))])
    try {
      ip('netns', 'delete', space);
    } catch {} // it was not made
}

// ## Its hosts

function startIn(host: number, argv: readonly string[]) {
  const args = ['netns', 'exec', NAMES.host(host), process.execPath, FOURFOLD, ...argv];
  return spawn('ip', args, { env: ENVIRONMENT, stdio: ['ignore', 'pipe', 'inherit'] });
}

async function startWorkerIn(host: number) {
  const child = startIn(host, ['worker', '--host', addressOf(host), '--threads', '1', '--model', 'smollm2-135m']);
  while (!String((await once(child.stdout, 'data'))[0]).includes('waits for a root'));
  return child;
}

async function outputOf(...flags: string[]): Promise<string> {
  const child = startIn(0, [...TEXT, ...EXACT, ...flags]);
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 0, `the root ended with ${code}`);
  return output;
}

/** The text of a --stats output: its lines end with their pieces. */
const textOf = (output: string): string =>
  (output.match(/".*"$/gm) ?? []).map((piece) => JSON.parse(piece) as string).join('');

async function prove(hosts: number, alone: string): Promise<void> {
  const workers = await Promise.all(Array.from({ length: hosts - 1 }, (_, i) => startWorkerIn(i + 1)));
  try {
    const addresses = workers.map((_, i) => `${addressOf(i + 1)}:9998`);
    const output = await outputOf('--stats', '--workers', ...addresses);
    assert.equal(textOf(output), alone);
    console.log(`\n${hosts} hosts, the same text as one:\n${output.slice(output.indexOf('prompt  '))}`);
  } finally {
    for (const worker of workers) worker.kill('SIGTERM');
  }
}

const { values } = parseArgs({ options: { 'no-delay': { type: 'boolean', default: false } } });
const link = values['no-delay']
  ? ['tbf', 'rate', '1gbit', 'burst', '128kb', 'latency', '50ms']
  : ['netem', 'delay', '0.5ms', 'rate', '1gbit'];
try {
  try {
    build(MOST_HOSTS, link);
  } catch (error) {
    const why = messageOf(error).trim().split('\n').at(-1);
    throw new UserError(`It needs root, iproute2 and a kernel with ${link[0]} (${why}): see --no-delay in its source`);
  }
  console.log(`Links: ${link.join(' ')}`);
  const alone = (await outputOf()).replace(/\n$/, '');
  for (const hosts of [2, MOST_HOSTS]) await prove(hosts, alone);
  remove(MOST_HOSTS);
} catch (error) {
  remove(MOST_HOSTS);
  exitWith(error);
}
