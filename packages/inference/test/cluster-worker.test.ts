import net from 'node:net';
import { introduce, socketStream } from '@fourfold/process-group/handshake';
import { afterEach, expect, test } from 'vitest';
import { SliceCache } from '../src/cluster/slice-cache.ts';
import { startWorker, type Worker, type WorkerOptions } from '../src/cluster/worker.ts';
import { newFolder, SECRET } from './cluster-processes.ts';

const workers: Worker[] = [];
const sockets: net.Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(workers.splice(0).map((worker) => worker.close()));
});

async function start(more: Partial<WorkerOptions> = {}) {
  const lines: string[] = [];
  const cache = new SliceCache(newFolder());
  const options = {
    version: '0.1.0',
    secret: SECRET,
    model: undefined,
    cache,
    log: (line: string) => lines.push(line),
  };
  const worker = await startWorker({ ...options, host: '127.0.0.1', port: 0, timeoutMs: 1000, ...more });
  workers.push(worker);
  const dial = (): net.Socket => {
    const socket = net.connect(worker.port, '127.0.0.1').on('error', () => {});
    sockets.push(socket);
    return socket;
  };
  return { worker, lines, dial };
}

const closed = (socket: net.Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));
const hello = { purpose: 'root', rank: 0, worldSize: 2, attempt: 1 } as const;

test('a port scanner gets nothing but the opening of a handshake, and is logged once', async () => {
  const { lines, dial } = await start();
  for (const garbage of ['GET / HTTP/1.1\r\n\r\n', 'x'.repeat(5000), '\0'.repeat(300)]) {
    const socket = dial();
    let got = 0;
    socket.on('data', (chunk) => {
      got += chunk.length;
    });
    socket.write(garbage);
    await closed(socket);
    expect(got).toBeLessThanOrEqual(8 + 32 + 32);
  }
  expect(lines.filter((line) => line.startsWith('turned 127.0.0.1 away'))).toHaveLength(1);
});

test('a hundred silent connections keep the root from nothing; its offer is checked, the next may come', async () => {
  const { lines, dial } = await start();
  for (let i = 0; i < 100; i++) dial();
  await new Promise((resolve) => setTimeout(resolve, 200));
  const root = dial();
  await introduce(socketStream(root), SECRET, hello);
  const second = introduce(socketStream(dial()), SECRET, hello);
  await expect(second).rejects.toThrow(/^it serves the root at 127.0.0.1:\d+$/);
  const lane = introduce(socketStream(dial()), SECRET, { ...hello, purpose: 'lane' });
  await expect(lane).rejects.toThrow('no lane of rank 0 is due here');
  root.write(Uint8Array.from([0, 2, 0, 0, 0, 123, 125])); // an offer of {}
  root.resume();
  await closed(root);
  expect(lines).toContain('the offer makes no sense');
  expect(lines.at(-1)).toBe('waits for the next root');
  await introduce(socketStream(dial()), SECRET, hello);
});

test('a taken port and an address elsewhere are named; other machines need a secret', async () => {
  const { worker } = await start();
  await expect(start({ port: worker.port })).rejects.toThrow(`--port ${worker.port} is taken by another program`);
  await expect(start({ host: '192.0.2.1' })).rejects.toThrow('--host 192.0.2.1 is no address of this machine');
  await expect(start({ host: '0.0.0.0', secret: '' })).rejects.toThrow('FOURFOLD_SECRET is missing');
});
