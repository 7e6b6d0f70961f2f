/**
 * Two and four hosts on one machine: `npx nx run inference:network-proof`.
 *
 *     namespace ff-0   root      10.77.0.1 ─┐
 *     namespace ff-1   worker    10.77.0.2 ─┼─ packets are handed on by process-group's slow-link.py
 *     ...                                  ─┘      each link 1 Gbit/s, and 0.5 ms one way
 *
 * SmolLM2 writes the same text as on one rank, and the table shows how a token's time is parted. It needs root,
 * iproute2, Python and /dev/net/tun. The hosts share this machine's processors.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { exitWith, UserError } from '@fourfold/runtime/errors';

const FOURFOLD = fileURLToPath(new URL('../../fourfold/bin/fourfold.mjs', import.meta.url));
const TEXT = ['generate', '--prompt', 'Call me Ishmael.', '--steps', '32', '--threads', '1', '--max-seq-len', '128'];
const EXACT = ['--activations', 'float32']; // rounded activations may tip a near tie, and ranks add up in another order
const ENVIRONMENT = { ...process.env, FOURFOLD_SECRET: 'a secret for the network proof' };
const MOST_HOSTS = 4;
const [DELAY_MS, MBIT] = [0.5, 1000];

const SLOW_LINK = fileURLToPath(new URL('../../process-group/test/slow-link.py', import.meta.url));
const nameOf = (host: number): string => `ff-${process.pid}-${host}`;
const addressOf = (host: number): string => `10.77.0.${host + 1}`;
const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });

// ## The network

/** Makes the hosts and starts what forwards their packets. */
async function build(hosts: number) {
  const pairs: string[] = [];
  for (let i = 0; i < hosts; i++) {
    ip('netns', 'add', nameOf(i));
    ip('-n', nameOf(i), 'link', 'set', 'lo', 'up');
    pairs.push(nameOf(i), addressOf(i));
  }
  const network = spawn('python3', [SLOW_LINK, `${DELAY_MS}`, '0', `${MBIT}`, ...pairs], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await Promise.race([once(network.stdout, 'data'), once(network, 'close').then(ended)]);
  return network;
}

function ended(): never {
  throw new UserError('slow-link.py ended before it was ready: it needs root and /dev/net/tun');
}

/** Milliseconds from host 0 to host 1 and back, the median of 101 bytes that return at once. */
async function roundTrip(): Promise<number> {
  const echo = `require('net').createServer({ noDelay: true }, (s) => s.pipe(s)).listen(7, () => console.log('up'))`;
  const ask = `const s = require('net').connect({ port: 7, host: '${addressOf(1)}', noDelay: true });
    const times = []; let sent; const send = () => { sent = performance.now(); s.write('x'); };
    s.on('connect', send).on('data', () => { times.push(performance.now() - sent);
      if (times.length < 101) return send();
      process.stdout.write(String(times.sort((a, b) => a - b)[50]));
      s.destroy(); });`;
  const server = spawn('ip', ['netns', 'exec', nameOf(1), process.execPath, '-e', echo]);
  await once(server.stdout, 'data');
  try {
    return Number(execFileSync('ip', ['netns', 'exec', nameOf(0), process.execPath, '-e', ask]));
  } finally {
    server.kill();
  }
}

/** What is in a namespace goes with it. */
function remove(hosts: number): void {
  for (let i = 0; i < hosts; i++)
    try {
      ip('netns', 'delete', nameOf(i));
    } catch {} // it was not made
}

// ## Its hosts

function startIn(host: number, argv: readonly string[]) {
  const args = ['netns', 'exec', nameOf(host), process.execPath, FOURFOLD, ...argv];
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

let network: Awaited<ReturnType<typeof build>> | undefined;
function end(): void {
  network?.stdin.end();
  remove(MOST_HOSTS);
}
try {
  network = await build(MOST_HOSTS);
  const there = await roundTrip();
  console.log(`Links of ${MBIT} Mbit/s and ${DELAY_MS} ms: there and back in ${there.toFixed(2)} ms`);
  assert.ok(there >= 2 * DELAY_MS, 'the links are faster than they should be');
  const alone = (await outputOf()).replace(/\n$/, '');
  for (const hosts of [2, MOST_HOSTS]) await prove(hosts, alone);
  end();
} catch (error) {
  end();
  exitWith(error);
}
