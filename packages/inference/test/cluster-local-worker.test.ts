import { rmSync } from 'node:fs';
import net from 'node:net';
import { openBackend } from '@fourfold/runtime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LocalWorkers, startLocalWorkers } from '../src/cluster/local-worker.ts';
import { connectWorkers } from '../src/cluster/root.ts';
import { fourfoldVersion } from '../src/cluster/secret.ts';
import { chooseOptions } from '../src/load.ts';
import { openModel } from '../src/open.ts';
import { openDecoder } from '../src/open-decoder.ts';
import { tinyFolder } from './support/tiny-folder.ts';

let folder = '';
beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
  folder = await tinyFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

const isOpen = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });

test('workers on this machine read the model themselves, compute as one rank does, and end when told', async () => {
  const local = await startLocalWorkers({ count: 2, threads: 1, model: folder, timeoutMs: 20_000 });
  const ports = local.workers.map(({ port }) => port);
  expect(await Promise.all(ports.map(isOpen))).toEqual([true, true]);
  const row = { token: 65, slot: 0, position: 0, wanted: 3 } as const;
  const alone = await openDecoder(await openModel(folder));
  const [expected] = await alone.step([row]);
  await alone.close();
  const lines: string[] = [];
  const shared = await connectWorkers(await optionsFor(local, lines));
  const [logits] = await shared.step([row]);
  expect(logits?.ids).toEqual(expected?.ids);
  expect(lines).toEqual(['3 ranks share the model']); // nothing was sent
  await shared.close();
  local.stop();
  while ((await Promise.all(ports.map(isOpen))).some(Boolean)) await new Promise((resolve) => setTimeout(resolve, 20));
}, 60_000);

async function optionsFor({ workers, secret }: LocalWorkers, lines: string[]) {
  const model = await openModel(folder);
  return {
    ...{ version: fourfoldVersion(), secret, model, sharing: chooseOptions(model), workers, timeoutMs: 20_000 },
    ...{ transfers: 'float32' as const, log: (line: string) => void lines.push(line) },
  };
}

test('a worker that can’t open its model is told of, and none is left waiting', async () => {
  const starting = startLocalWorkers({ count: 1, threads: 1, model: '/etc/hostname', timeoutMs: 1000 });
  await expect(starting).rejects.toThrow('a worker on this machine ended with 2 before it was ready');
}, 60_000);
