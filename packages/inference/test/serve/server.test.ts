import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { bigContext, jsonOf, letters, type TestServer, testServer } from '../support/test-server.ts';

const CHAT = '/v1/chat/completions';
const body = { messages: [{ role: 'user', content: 'Who was Ahab?' }], temperature: 0 };
/** Never ends by itself. */
const endless = { ...bigContext, delay: 2, bias: (token: number) => letters(token) - (token > 255 ? 99 : 0) };

/** Waits for what comes soon. */
async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!isSo() && performance.now() < end) await wait(5);
  expect(isSo()).toBe(true);
}

/** A raw connection that has sent a request. */
async function send(server: TestServer, text: string): Promise<Socket> {
  const { hostname, port } = new URL(server.url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.write(text);
  return socket;
}

const requestOf = (json: string, length = Buffer.byteLength(json)): string =>
  `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${json}`;

test('a client that goes away frees its slot, streaming or not', async () => {
  const server = await testServer({ fake: endless });
  for (const stream of [true, false]) {
    const socket = await send(server, requestOf(JSON.stringify({ ...body, stream, n: 2 })));
    await until(() => server.engine.running === 2);
    socket.destroy();
    await until(() => server.engine.running === 0);
  }
  expect(server.errors).toEqual([]);
  await server.stop(0);
});

test('an upload that breaks off leaves nothing behind', async () => {
  const server = await testServer();
  const sockets = await Promise.all(Array.from({ length: 20 }, () => send(server, requestOf('{"messages": [', 1000))));
  for (const socket of sockets) socket.destroy();
  expect((await server.post(CHAT, { ...body, max_tokens: 2 })).status).toBe(200);
  expect([server.engine.running, server.errors]).toEqual([0, []]);
  await server.stop(0);
});

test('a reader that is slow keeps nobody waiting', async () => {
  const server = await testServer({ fake: endless });
  const slow = await send(
    server,
    requestOf(JSON.stringify({ ...body, stream: true, logprobs: true, top_logprobs: 20 })),
  );
  slow.pause();
  const quick = await server.post(CHAT, { ...body, max_tokens: 3 });
  expect(quick.status).toBe(200);
  await until(() => server.engine.running === 0); // the slow one's answer is computed, and waits for it
  slow.destroy();
  await server.stop(0);
});

test('200 clients at once: each gets its own answer, or is told to come again', async () => {
  const server = await testServer({ maxWaiting: 50, fake: { ...bigContext, slots: 8, maxRows: 64, delay: 20 } });
  const ask = async (i: number) => {
    const messages = [{ role: 'user', content: `Question ${i}` }];
    const response = await server.post(CHAT, { messages, max_tokens: 6, temperature: 0 });
    return { status: response.status, json: await jsonOf(response) };
  };
  const all = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(i)));
  const answered = all.flatMap(({ status, json }, i) => (status === 200 ? [{ i, json }] : []));
  expect(new Set(all.map(({ status }) => status))).toEqual(new Set([200, 429]));
  expect(answered.length).toBeGreaterThanOrEqual(58);
  for (const { i, json } of answered.slice(0, 20))
    expect((await ask(i)).json.choices[0]?.message).toEqual(json.choices[0]?.message);
  expect(server.errors).toEqual([]);
  await server.stop(0);
}, 120_000);

test('asked to stop, it finishes what runs, refuses what is new, and closes its port', async () => {
  const server = await testServer({ fake: endless });
  const running = server.post(CHAT, { ...body, max_tokens: 60 });
  await until(() => server.engine.running === 1);
  const stopped = server.stop(10_000);
  const late = await server.post(CHAT, body);
  expect([late.status, (await jsonOf(late)).error.code]).toEqual([503, 'stopping']);
  expect((await fetch(`${server.url}/health`)).status).toBe(503);
  expect((await jsonOf(await running)).choices[0]?.message.content.length).toBe(60);
  await stopped;
  await expect(fetch(`${server.url}/health`)).rejects.toThrow('fetch failed');
});

test('what runs longer than the grace is cut off', async () => {
  const server = await testServer({ fake: { ...endless, maxSeqLength: 4096 } });
  const running = server.post(CHAT, { ...body, stream: true }).then((response) => response.text());
  await until(() => server.engine.running === 1);
  const began = performance.now();
  await Promise.all([server.stop(100), expect(running).rejects.toThrow('terminated')]);
  expect(performance.now() - began).toBeLessThan(3000);
  await until(() => server.engine.running === 0);
});

test('a port that is taken is a sentence', async () => {
  const server = await testServer();
  const port = Number(new URL(server.url).port);
  await expect(testServer({ port })).rejects.toThrow(`port=${port} of host=127.0.0.1 can't be had`);
  await server.stop(0);
});
