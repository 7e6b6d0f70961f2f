/** A worker that is killed and comes back: the step fails by its name, and then all goes on. */
import { expect, test } from 'vitest';
import { reopen } from '../src/cluster/open-ranks.ts';
import { connectWorkers } from '../src/cluster/root.ts';
import { startWorkerProcess, type WorkerProcess } from './cluster-processes.ts';
import { opened, rootOf, workers, write } from './cluster-roots.ts';

test('a worker that is killed fails the step by its name; when it is back all goes on', async () => {
  const [first, second] = (await workers(2)) as [WorkerProcess, WorkerProcess];
  const decoder = await connectWorkers(rootOf([first, second], { timeoutMs: 5000 }));
  const expected = await write(decoder);
  const lost = new Promise<Error>((resolve) => decoder.onLost?.(resolve));
  second.child.kill('SIGKILL');
  const name = `worker 127.0.0.1:${second.address.port}`;
  await expect(decoder.step([{ token: 1, slot: 0, position: 0, wanted: 1 }])).rejects.toThrow(name);
  expect((await lost).message).toContain(name);
  await decoder.close();
  const reasons: string[] = [];
  const open = () => connectWorkers(rootOf([first, second], { timeoutMs: 5000 }));
  const opening = reopen(open, { everyMs: 200, report: (why) => reasons.push(why) });
  opened.push(await startWorkerProcess('--port', String(second.address.port)));
  const back = await opening;
  expect(reasons.join('\n')).toContain(`${name} can't be had: nobody listens there`);
  expect(await write(back)).toEqual(expected);
  await back.close();
}, 120_000);
