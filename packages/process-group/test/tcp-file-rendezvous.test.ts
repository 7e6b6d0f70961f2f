import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { fileStore } from '../src/tcp/file-rendezvous.ts';
import { serveStore } from '../src/tcp/store.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-meet-'));
afterAll(() => rmSync(root, { recursive: true }));

let path = '';
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(root, 'run-'));
  path = join(folder, 'meet.json');
});

const meet = (rank: number, timeoutMs = 5000, attempt = 0) =>
  fileStore({ path, rank, worldSize: 3, attempt, timeoutMs });

const WRITTEN = '2026-01-31T12:00:00.000Z';
const NOTE = { host: '127.0.0.1', port: 1, secret: 'ab'.repeat(32), attempt: 0, written: WRITTEN };

test('ranks meet through the file, whoever comes first', async () => {
  const early = meet(1);
  await sleep(150);
  const [zero, one, two] = await Promise.all([meet(0), early, meet(2)]);
  await two.set('x', '1');
  expect(await Promise.all([zero.get('x', 2), one.get('x', 2)])).toEqual(['1', '1']);
  expect(new Set([zero.secret, one.secret, two.secret]).size).toBe(1);
  expect(zero.secret).toMatch(/^[\da-f]{64}$/);
  expect([zero.localAddress, one.localAddress]).toEqual(['127.0.0.1', '127.0.0.1']);
  for (const store of [one, two, zero]) await store.close();
});

test('the file is for its owner alone, whole, and gone when rank 0 closes', async () => {
  const zero = await meet(0);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(Object.keys(JSON.parse(readFileSync(path, 'utf8')))).toEqual(['host', 'port', 'secret', 'attempt', 'written']);
  expect(readdirSync(folder)).toEqual(['meet.json']);
  await zero.close();
  expect(readdirSync(folder)).toEqual([]);
});

test('a file that another run has put there since stays', async () => {
  const zero = await meet(0);
  const later = await meet(0);
  await zero.close();
  expect(existsSync(path)).toBe(true);
  await later.close();
  expect(existsSync(path)).toBe(false);
});

test('a stale file, whose writer is gone, is passed over until rank 0 replaces it', async () => {
  writeFileSync(path, JSON.stringify(NOTE));
  const early = meet(1);
  await sleep(250);
  const zero = await meet(0);
  const one = await early;
  expect(one.secret).toBe(zero.secret);
  await one.close();
  await zero.close();
});

/** What rank 1 says of `text` in the file when its time is over. */
async function complaint(text: string, timeoutMs = 500): Promise<string> {
  writeFileSync(path, text);
  const error = await meet(1, timeoutMs).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message;
}

test('no file, or one that nobody answers for: one sentence when the time is over', async () => {
  await expect(meet(1, 150)).rejects.toThrow(
    new UserError(`rank 1: ${path} did not appear within 0.15 s: is rank 0 running?`),
  );
  expect(await complaint(JSON.stringify(NOTE))).toBe(
    `rank 1: ${path} is stale (127.0.0.1:1, which wrote it at ${WRITTEN}, does not answer: ` +
      'connect ECONNREFUSED 127.0.0.1:1) and was not replaced within 0.5 s: is rank 0 running?',
  );
});

test('a stranger on the port of a stale file, or a store with another secret, is not taken for rank 0', async () => {
  const stranger = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(
    0,
    '127.0.0.1',
  );
  await once(stranger, 'listening');
  const { port } = stranger.address() as AddressInfo;
  const wrote = `which wrote it at ${WRITTEN}, is another program now`;
  expect(await complaint(JSON.stringify({ ...NOTE, port }))).toContain(
    `127.0.0.1:${port}, ${wrote}: it speaks another protocol`,
  );
  stranger.close();
  const other = await serveStore({ ...NOTE, port: 0, secret: 'another secret!!', worldSize: 3, timeoutMs: 1000 });
  expect(await complaint(JSON.stringify({ ...NOTE, port: other.port }))).toContain(
    `127.0.0.1:${other.port}, ${wrote}: it does not know the secret`,
  );
  await other.close();
});

test('a file of an earlier attempt is stale, even while its writer lives', async () => {
  const zero = await meet(0, 5000, 0);
  const error = await meet(1, 150, 1).catch((caught: unknown) => caught);
  expect((error as Error).message).toMatch(/127\.0\.0\.1:\d+, which wrote it at .*Z, was of attempt 0, not 1/);
  await zero.close();
});

test("rank 0's refusal is final", async () => {
  const zero = await meet(0);
  await expect(fileStore({ path, rank: 1, worldSize: 4, attempt: 0, timeoutMs: 5000 })).rejects.toThrow(
    new UserError('rank 1 was started with WORLD_SIZE=4, rank 0 with 3'),
  );
  await zero.close();
});

test.each([
  ['', 'it is not JSON'],
  ['not JSON', 'it is not JSON'],
  [' '.repeat(4097), 'it has more than 4096 bytes'],
  ['null', 'its host is missing or makes no sense'],
  ['[]', 'its host is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, host: 'a b' }), 'its host is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, port: 65536 }), 'its port is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, port: '80' }), 'its port is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, secret: '' }), 'its secret is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, attempt: -1 }), 'its attempt is missing or makes no sense'],
  [JSON.stringify({ ...NOTE, written: 'yesterday' }), 'its written is missing or makes no sense'],
])('a file with %j in it is not believed', async (text, reason) => {
  expect(await complaint(text, 50)).toBe(
    `rank 1: ${path} is stale (${reason}) and was not replaced within 0.05 s: is rank 0 running?`,
  );
});

test("another user's file is not believed", async () => {
  writeFileSync(path, JSON.stringify(NOTE));
  const isRoot = process.getuid?.() === 0;
  if (isRoot) chownSync(path, 12345, 12345);
  else path = '/etc/hosts'; // root's
  await expect(meet(1, 50)).rejects.toThrow('it belongs to another user');
});

test('a path that can never be a file is told', async () => {
  mkdirSync(path);
  await expect(meet(1, 50)).rejects.toThrow('EISDIR');
  await expect(meet(0)).rejects.toThrow(`${path} can't be written (EISDIR): choose a folder`);
  expect(readdirSync(folder)).toEqual(['meet.json']); // nothing left beside it
  const nowhere = fileStore({ path: join(folder, 'no', 'x'), rank: 0, worldSize: 3, attempt: 0, timeoutMs: 1000 });
  await expect(nowhere).rejects.toThrow(/x can't be written \(ENOENT\): choose a folder that all ranks can/);
});
