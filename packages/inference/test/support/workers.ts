/** Workers in processes of their own, roots in others, and two models: all go when the tests of a file have run. */
import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { SECRET, startWorkerProcess } from '../cluster-processes.ts';
import { start } from './command.ts';
import { tinyFolder } from './tiny-folder.ts';

export let [folder, other] = ['', ''];
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

export async function worker(...flags: string[]) {
  const started = await startWorkerProcess(...flags);
  opened.push(started);
  return { ...started, at: `127.0.0.1:${started.address.port}` };
}

const text = (...flags: string[]) => ['generate', '--model', folder, '--prompt', 'Call me', '--steps', '16', ...flags];
export const runRoot = async (...flags: string[]) => {
  const running = start(text('--threads', '1', ...flags), { FOURFOLD_SECRET: SECRET });
  const code = await running.ended;
  return { code, stdout: running.stdout(), stderr: running.stderr() };
};
