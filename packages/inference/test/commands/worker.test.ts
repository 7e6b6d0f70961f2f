/** `npx fourfold worker` as a process, with roots that are processes too. */
import { expect, test } from 'vitest';
import { run } from '../support/command.ts';
import { folder, runRoot, worker } from '../support/workers.ts';

test('with the model on its own disk a worker is sent nothing of it, and the text is one rank’s', async () => {
  const { at } = await worker('--model', folder);
  const [alone, shared] = [await runRoot(), await runRoot('--workers', at)];
  expect([shared.code, shared.stdout]).toEqual([0, alone.stdout]);
  expect(shared.stderr).toContain('2 ranks share the model');
  expect(shared.stderr).not.toContain('sent');
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
