import { rmSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';
import { converse } from '../../src/commands/chat.ts';
import { run } from '../support/command.ts';
import { type FakeOptions, fakeDecoder } from '../support/fake-decoder.ts';
import { tinyFolder } from '../support/tiny-folder.ts';
import { END, tinyVocabulary } from '../support/tiny-text.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** Says "a" until a multiple of 8 tokens has come. */
const short = (token: number, length: number): number => (token === (length % 8 === 0 ? END : 97) ? 99 : 0);
const endless = (token: number): number => (token === 97 ? 99 : 0);

/** A conversation with a fake model, on a terminal that is none. */
async function conversation(fake: FakeOptions = {}, isTTY = false) {
  const [stdin, stdout] = [Object.assign(new PassThrough(), { isTTY }), new PassThrough()];
  let text = '';
  stdout.on('data', (chunk) => {
    text += chunk;
  });
  const decoder = fakeDecoder({ bias: short, maxSeqLength: 512, ...fake });
  const vocabulary = await tinyVocabulary();
  const model = { name: 'tiny', decoder, vocabulary, memory: [], reopen: async () => decoder };
  const settings = { system: '', steps: 400, temperature: 0, topP: 1, topK: 0, seed: 0 };
  const ended = converse(model, settings as never, { stdin, stdout });
  return { stdin, decoder, ended, text: () => text };
}

/** The prompts that were computed, as text. */
const seen = (decoder: { steps: readonly (readonly { token: number }[])[] }): string =>
  decoder.steps.flatMap((rows) => rows.map(({ token }) => (token < 256 ? String.fromCharCode(token) : '|'))).join('');

test('questions through a pipe are answered, each after what was said before', async () => {
  const { stdin, decoder, ended, text } = await conversation();
  stdin.end('Hi\n\nAnd you?\n');
  await ended;
  expect(text()).toMatch(/^a+\na+\n$/);
  expect(seen(decoder)).toMatch(/^\|user\nHi\|\|assistant\na+\|?\|user\nAnd you\?\|\|assistant\na+$/);
});

test('/reset forgets, and /help helps', async () => {
  const { stdin, decoder, ended, text } = await conversation();
  stdin.end('Hi\n/reset\n/help\nAnd you?\n');
  await ended;
  expect(text()).toContain('/reset  begins a new conversation');
  const second = decoder.steps.find((rows) => rows.some(({ token }) => token === 65)) ?? []; // A
  expect(second[0]?.position).toBeLessThan(8); // nothing of the first question but the beginning of a turn
});

test('Ctrl-C stops the answer, which stays said; at the prompt it ends the chat', async () => {
  const { stdin, decoder, ended, text } = await conversation({ bias: endless, delay: 3 }, true);
  stdin.write('Hi\n');
  while (!text().includes('aaa')) await wait(2);
  stdin.write('\x03');
  const steps = async () => decoder.steps.length;
  let last = -1;
  while (last !== (await steps())) {
    last = await steps();
    await wait(50);
  }
  expect(last).toBeLessThan(300);
  stdin.write('\x03');
  await ended;
});

test('a question that is too long is a sentence, and the chat goes on', async () => {
  const { stdin, ended, text } = await conversation();
  stdin.end(`${'x'.repeat(600)}\nHi\n`);
  await ended;
  expect(text()).toMatch(/^The prompt has \d+ tokens.*; \/reset begins anew\na+\n$/s);
});

test('the command answers a pipe, and refuses a model that holds no chats', async () => {
  const [folder, plain] = [await tinyFolder(), await tinyFolder(null)];
  folders.push(folder, plain);
  const { code, stdout } = await run(['chat', '--model', folder, '--steps', '5'], 'Who was Ahab?\n');
  expect([code, stdout.length > 0]).toEqual([0, true]);
  const refused = await run(['chat', '--model', plain], 'Hi\n');
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('has no chat template')]);
});
