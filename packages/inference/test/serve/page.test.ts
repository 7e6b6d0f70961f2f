import { setTimeout as wait } from 'node:timers/promises';
import { Window } from 'happy-dom';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openPage } from '../../src/serve/page.ts';
import { bigContext, letters, type TestServer, testServer } from '../support/test-server.ts';
import { END } from '../support/tiny-text.ts';

let server: TestServer;
let page: Window;

/** Letters, and the end where a multiple of 16 tokens has come; no prompt here is one. */
const short = (token: number, length: number): number =>
  token === END ? (length % 16 === 0 ? 99 : -99) : letters(token);

/** The page as its server gives it, running its own script. */
async function load(options: Parameters<typeof testServer>[0] = {}): Promise<void> {
  server = await testServer({ fake: { ...bigContext, bias: short }, ...options });
  page = new Window({
    url: server.url,
    settings: { enableJavaScriptEvaluation: true, suppressInsecureJavaScriptEnvironmentWarning: true },
  });
  page.document.write(await (await fetch(server.url)).text());
  await until(() => page.document.title === 'tiny');
}

beforeEach(() => load());
afterEach(async () => {
  await page.happyDOM.close();
  await server.stop(0);
});

async function until(isSo: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!isSo() && performance.now() < end) await wait(5);
  expect([isSo(), texts('error')]).toEqual([true, expect.anything()]);
}

const at = (id: string) => page.document.getElementById(id) as never as InstanceType<Window['HTMLTextAreaElement']>;
const texts = (role: string): string[] =>
  [...page.document.querySelectorAll(`.message.${role} > span:last-child`)].map(({ textContent }) => textContent ?? '');
const isAnswering = (): boolean => !at('stop').hidden;

function ask(text: string): void {
  at('question').value = text;
  at('question').dispatchEvent(
    new page.KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }) as never,
  );
}

test('a question is answered, and the next one goes on from it', async () => {
  ask('Who was Ahab?');
  await until(() => texts('assistant')[0] !== '' && !isAnswering());
  const [first] = texts('assistant');
  ask('And Ishmael?');
  await until(() => texts('assistant').length === 2 && !isAnswering());
  expect(texts('user')).toEqual(['Who was Ahab?', 'And Ishmael?']);
  const [seen] = server.decoder.steps.filter((rows) => rows.some(({ token }) => token === 73)); // I
  expect(seen?.[0]?.position).toBeGreaterThan(31 + (first?.length ?? 0) - 1);
});

test('what comes is text, whatever it looks like', async () => {
  ask('<img src=x onerror="alert(1)"><b>bold</b>');
  expect(texts('user')).toEqual(['<img src=x onerror="alert(1)"><b>bold</b>']);
  expect(page.document.querySelector('#log img, #log b')).toBeNull();
  await until(() => !isAnswering());
});

test('Stop ends the answer, which stays; /reset forgets all', async () => {
  await page.happyDOM.close();
  await server.stop(0);
  await load({ fake: { ...bigContext, delay: 5, bias: (token) => letters(token) - (token > 255 ? 99 : 0) } });
  ask('Go on');
  await until(() => (texts('assistant')[0]?.length ?? 0) > 3);
  at('stop').click();
  await until(() => !isAnswering() && server.engine.running === 0);
  expect(texts('assistant')[0]?.length).toBeGreaterThan(3);
  expect(texts('error')).toEqual([]);
  ask('/reset');
  expect([...texts('user'), ...texts('assistant')]).toEqual([]);
});

test('an error is shown, and a key is asked for where one is wanted', async () => {
  await page.happyDOM.close();
  await server.stop(0);
  await load({ apiKey: 'a-long-key' });
  ask('Hello');
  await until(() => texts('error').length === 1);
  expect(texts('error')[0]).toContain('wants its key');
  expect(at('keyLabel').hidden).toBe(false);
  at('key').value = 'a-long-key';
  ask('Hello');
  await until(() => texts('assistant').at(-1) !== '' && !isAnswering());
  expect(texts('error').length).toBe(1);
});

test('it runs its own script, speaks with its own server, and nothing else', () => {
  const { html, headers } = openPage();
  const policy = headers['Content-Security-Policy'] ?? '';
  expect(policy).toContain("default-src 'none'; connect-src 'self'");
  expect(policy).not.toContain('unsafe');
  expect(html).not.toMatch(/innerHTML|insertAdjacentHTML|https?:\/\/|src="/);
});

test('it says what each part is to those who hear it', () => {
  expect(page.document.documentElement.lang).toBe('en');
  expect(at('log').getAttribute('aria-live')).toBe('polite');
  for (const field of page.document.querySelectorAll('textarea, input'))
    expect(field.closest('label') ?? page.document.querySelector(`label[for=${field.id}]`)).not.toBeNull();
  for (const button of page.document.querySelectorAll('button')) expect(button.textContent.trim()).not.toBe('');
});
