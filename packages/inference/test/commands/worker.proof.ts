/** `npx fourfold worker` and those it must not serve: roots with another model, strangers, roots that are killed. */
import net from 'node:net';
import { expect, test } from 'vitest';
import { SECRET } from '../cluster-processes.ts';
import { start } from '../support/command.ts';
import { folder, other, runRoot, worker } from '../support/workers.ts';

test('another model is refused by its name at both ends, and then the right root is served', async () => {
  const { at, line } = await worker('--model', other);
  const why = `its --model ${other} is another model than the root's`;
  const refused = await runRoot('--workers', at);
  expect([refused.code, refused.stderr.trim()]).toEqual([2, `worker ${at} says: ${why}`]);
  expect(await line(/another model/)).toBe(`worker: ${why}`);
  await line(/waits for the next root/);
}, 60_000);

test('a stranger is told nothing; a root that is killed makes room for the next one', async () => {
  const { at, address, line } = await worker();
  const stranger = net.connect(address.port, '127.0.0.1').on('error', () => {});
  stranger.write('GET / HTTP/1.1\r\n\r\n');
  await line(/turned 127.0.0.1 away/);
  const root = start(['serve', '--model', folder, '--port', '0', '--workers', at], { FOURFOLD_SECRET: SECRET });
  await root.says(/served at/);
  root.child.kill('SIGKILL');
  await line(/waits for the next root/);
  expect((await runRoot('--workers', at)).code).toBe(0);
}, 60_000);
