import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { freePort, gpusOf, threadsFor } from '../src/launch/machine.ts';

test.each([
  ['0,1,3', ['0', '1', '3']],
  ['GPU-8932f937, 2', ['GPU-8932f937', '2']],
  ['', []],
  ['-1', []],
  ['0,-1,1', ['0']],
])('CUDA_VISIBLE_DEVICES=%s names the GPUs', (visible, gpus) => {
  expect(gpusOf(visible, '/nowhere')).toEqual(gpus);
});

test("without the variable, the GPUs are those of the driver's folders", () => {
  const folder = mkdtempSync(join(tmpdir(), 'gpus-'));
  for (const bus of ['0000:18:00.0', '0000:2a:00.0']) mkdirSync(join(folder, bus));
  expect(gpusOf(undefined, folder)).toEqual(['0', '1']);
  rmSync(folder, { recursive: true });
  expect(gpusOf(undefined, folder)).toEqual([]);
});

test.each([
  [4, 16, 4],
  [3, 16, 5],
  [4, 2, 1],
])('%i ranks on %i cores have %i threads each', (ranks, cores, threads) => {
  expect(threadsFor(ranks, cores)).toBe(threads);
});

test('a free port can be listened on', async () => {
  const port = await freePort();
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  expect(server.address()).toMatchObject({ port });
  server.close();
});
