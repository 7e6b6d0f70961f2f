import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { FIRST } from '../src/train/choices.ts';
import type { Reply } from '../src/train/messages.ts';
import { serve } from '../src/train/serve.ts';

const folder = dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json'));
const kinds = ['', '-simd', '-threaded-simd'].map((kind) => `tfjs-backend-wasm${kind}.wasm`);
const wasmPaths = Object.fromEntries(kinds.map((name) => [name, join(folder, 'dist', name)]));
const text = 'It was the best of times, it was the worst of times. '.repeat(200);
const alone = { ...FIRST, dp: 1, pp: 1, cp: 1, tp: 1, micros: 1, zero: false };
const textAddress = `data:text/plain,${encodeURIComponent(text)}`;
afterEach(() => vi.unstubAllGlobals());

/** A served worker, and a way to wait until it has said something. */
function worker() {
  const replies: Reply[] = [];
  const take = serve((reply) => replies.push(reply), wasmPaths);
  const until = (enough: (reply: Reply) => boolean) => vi.waitUntil(() => replies.find(enough), { timeout: 30_000 });
  return { take, replies, until, steps: () => replies.filter(({ kind }) => kind === 'counted').length };
}

test('it says what it runs on, trains, pauses between two steps and goes on', async () => {
  const { take, replies, until, steps } = worker();
  take({ kind: 'start', choices: alone, device: 'wasm', textAddress });
  await until((reply) => reply.kind === 'counted' && reply.step === 2);
  expect(replies[0]).toMatchObject({ kind: 'opened', backend: expect.stringMatching(/^WebAssembly on/) });
  take({ kind: 'pause' });
  await vi.waitUntil(async () => {
    const before = steps();
    await new Promise((done) => setTimeout(done, 500));
    return steps() === before;
  });
  const paused = steps();
  take({ kind: 'go on' });
  await until((reply) => reply.kind === 'counted' && reply.step > paused);
  take({ kind: 'pause' });
});

test('a layout that can not be trained, and a text that is not there, fail with their words', async () => {
  const bad = worker();
  bad.take({ kind: 'start', choices: { ...alone, tp: 3 }, device: 'wasm', textAddress });
  const refused = await bad.until(({ kind }) => kind === 'failed');
  expect(refused).toMatchObject({ message: expect.stringContaining('tp=3 does not divide heads=4: use 1, 2, 4') });

  vi.stubGlobal('fetch', async () => new Response('', { status: 404, statusText: 'Not Found' }));
  const lost = worker();
  lost.take({ kind: 'start', choices: alone, device: 'wasm', textAddress: '/no.txt' });
  const failed = await lost.until(({ kind }) => kind === 'failed');
  expect(failed).toEqual({ kind: 'failed', message: "the text at /no.txt can't be had: 404 Not Found" });
});

test('WebGPU is refused where there is none', async () => {
  const { take, until } = worker();
  take({ kind: 'start', choices: alone, device: 'webgpu', textAddress });
  const failed = await until(({ kind }) => kind === 'failed');
  expect(failed).toEqual({ kind: 'failed', message: 'this browser has no WebGPU adapter: use WebAssembly' });
});
