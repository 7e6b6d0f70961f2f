/** `npx fourfold serve` as a process, with OpenAI's client before it. */
import { rmSync } from 'node:fs';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Running, run, start } from '../support/command.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

let folder = '';
let server: Running;
let client: OpenAI;
beforeAll(async () => {
  folder = await tinyFolder();
  const args = ['serve', '--model', folder, '--port', '0', '--slots', '4', '--threads', '1'];
  server = start(args, { FOURFOLD_API_KEY: 'a-long-key' });
  await server.says(/served at .*\/v1/);
  const [, baseURL] = /served at (\S+),/.exec(server.stdout()) ?? [];
  client = new OpenAI({ baseURL, apiKey: 'a-long-key', maxRetries: 0 });
});
afterAll(() => {
  server.child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

const ask = (content: string, more: object = {}) =>
  client.chat.completions.create({
    ...{ model: folder, messages: [{ role: 'user', content }], max_tokens: 12, temperature: 0 },
    ...more,
  });

test('answers are the same alone and beside others', async () => {
  const alone = await ask('Who was Ahab?');
  const all = await Promise.all(['Who was Ahab?', 'And Ishmael?', 'Who was Ahab?', 'Call me'].map((each) => ask(each)));
  const contents = all.map(({ choices }) => choices[0]?.message.content);
  expect([contents[0], contents[2]]).toEqual(Array(2).fill(alone.choices[0]?.message.content));
});

test('another key is refused', async () => {
  const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: 'another-key', maxRetries: 0 });
  await expect(stranger.models.list()).rejects.toThrow(OpenAI.AuthenticationError);
});

test('SIGTERM lets the running answer finish, and the process ends well', async () => {
  const running = ask('Go on', { max_tokens: 200, logit_bias: { 258: -100 } });
  await ask('first', { max_tokens: 1 }); // the other one is running by now
  server.child.kill('SIGTERM');
  expect((await running).usage?.completion_tokens).toBe(200);
  expect(await server.ended).toBe(0);
});

test('a port that is taken is one sentence, and exit code 2', async () => {
  const { code, stderr } = await run(['serve', '--model', folder, '--port', '1', '--host', '203.0.113.1']);
  expect([code, stderr]).toEqual([2, expect.stringContaining("port=1 of host=203.0.113.1 can't be had")]);
});
