/** `npx fourfold serve` with a worker: one that is killed amid an answer, and 200 clients at once. */
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SECRET, startWorkerProcess, type WorkerProcess } from '../cluster-processes.ts';
import { type Running, start } from '../support/command.ts';
import type { Json } from '../support/test-server.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let folder = '';
let worker: WorkerProcess;
let server: Running;
let url = '';
beforeAll(async () => {
  folder = await tinyFolder();
  worker = await startWorkerProcess();
  const at = `127.0.0.1:${worker.address.port}`;
  const flags = ['--port', '0', '--slots', '8', '--maxWaiting', '200', '--threads', '1', '--workers', at];
  server = start(['serve', '--model', folder, ...flags], { FOURFOLD_SECRET: SECRET });
  await server.says(/served at .*\/v1/);
  url = /served at (\S+),/.exec(server.stdout())?.[1] ?? '';
});
afterAll(async () => {
  server.child.kill('SIGKILL');
  await worker.stop();
  rmSync(folder, { recursive: true });
});

const ask = (content: string, more: object) =>
  fetch(`${url}/chat/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content }], temperature: 0, logit_bias: { 258: -100 }, ...more }),
  });
const answerTo = async (content: string) => {
  const response = await ask(content, { max_tokens: 8 });
  return { status: response.status, json: (await response.json()) as Json };
};
const health = async () => (await fetch(url.replace(/v1$/, 'health'))).status;

test('200 clients at once: each gets the answer that it gets alone', async () => {
  const questions = ['Who was Ahab?', 'And Ishmael?', 'Call me', 'Go on'];
  const alone = new Map<string, string | undefined>();
  for (const each of questions) alone.set(each, (await answerTo(each)).json.choices[0]?.message.content);
  const asked = Array.from({ length: 200 }, (_, i) => questions[i % questions.length] as string);
  const all = await Promise.all(asked.map(answerTo));
  expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200]));
  const contents = all.map(({ json }) => json.choices[0]?.message.content);
  expect(contents).toEqual(asked.map((question) => alone.get(question)));
  expect(new Set(alone.values()).size).toBe(questions.length); // a neighbour's answer would be seen
}, 120_000);

test('a worker that is killed amid an answer: an error event names it; when it is back all goes on', async () => {
  const before = await answerTo('Who was Ahab?');
  const response = await ask('Go on', { max_tokens: 480, stream: true });
  let events = '';
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    if (!events.includes('content')) worker.child.kill('SIGKILL');
    events += Buffer.from(chunk).toString();
  }
  const last = JSON.parse(
    events
      .trim()
      .split('\n')
      .at(-1)
      ?.replace(/^data: /, '') ?? '',
  ) as Json;
  const name = `worker 127.0.0.1:${worker.address.port}`;
  expect(last.error.message).toContain(name);
  expect(events).not.toContain('[DONE]');
  expect([await health(), (await answerTo('Who was Ahab?')).status]).toEqual([503, 503]);
  // The control connection or a lane notices first: either names the worker.
  const told = server
    .stderr()
    .split('\n')
    .filter((line) => line.endsWith('; trying again every 3 s'));
  expect(told).toEqual([expect.stringContaining(name)]);

  worker = await startWorkerProcess('--port', String(worker.address.port));
  while ((await health()) !== 200) await new Promise((resolve) => setTimeout(resolve, 100));
  expect((await answerTo('Who was Ahab?')).json.choices).toEqual(before.json.choices);
  expect(server.stderr()).toContain('is served again');
}, 60_000);
