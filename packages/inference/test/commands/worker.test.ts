/** `npx fourfold worker` as a process, with roots that are processes too. */
import { rmSync } from 'node:fs';
import net from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { SECRET, startWorkerProcess } from '../cluster-processes.ts';
import { run, start } from '../support/command.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let [folder, other] = ['', ''];
beforeAll(async () => {
  [folder, other] = [await tinyFolder(), await tinyFolder(null, 2)];
});
afterAll(() => {
  for (const each of [folder, other]) rmSync(each, { recursive: true });
});
const opened: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.stop()));
});

async function worker(...flags: string[]) {
  const started = await startWorkerProcess(...flags);
  opened.push(started);
  return { ...started, at: `127.0.0.1:${started.address.port}` };
}

const text = (...flags: string[]) => ['generate', '--model', folder, '--prompt', 'Call me', '--steps', '16', ...flags];
const runRoot = async (...flags: string[]) => {
  const running = start(text('--threads', '1', ...flags), { FOURFOLD_SECRET: SECRET });
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
};

test('with the model on its own disk a worker is sent nothing of it, and the text is one rank’s', async () => {
  const { at } = await worker('--model', folder);
  const [alone, shared] = [await runRoot(), await runRoot('--workers', at)];
  expect([shared.code, shared.stdout]).toEqual([0, alone.stdout]);
  expect(shared.stderr).toContain('2 ranks share the model');
  expect(shared.stderr).not.toContain('sent');
}, 60_000);

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

test('SIGTERM ends it with 143; what cannot be is one sentence, and exit code 2', async () => {
  const { child, address } = await worker();
  const taken = await run(['worker', '--port', String(address.port)]);
  expect([taken.code, taken.stderr]).toEqual([2, expect.stringContaining('is taken by another program')]);
  const open = await run(['worker', '--host', '0.0.0.0', '--port', '0']);
  expect([open.code, open.stderr]).toEqual([2, expect.stringContaining('FOURFOLD_SECRET is missing')]);
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  expect(await ended).toBe(143);
}, 60_000);
