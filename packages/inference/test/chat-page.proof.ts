/** The chat page in Chromium: `npx nx run inference:proof`. Where no Chromium is installed, one is fetched. */
import { launchChromium } from '@fourfold/chromium';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bigContext, letters, testServer } from './support/test-server.ts';

/** Letters without end, 20 ms each. */
const endless = (token: number): number => letters(token) - (token > 255 ? 99 : 0);

const answers = (page: Page) => page.locator('.message.assistant > span:last-child');

let browser: Browser;
let server: Awaited<ReturnType<typeof testServer>>;

beforeAll(async () => {
  browser = await launchChromium();
  server = await testServer({ fake: { ...bigContext, delay: 20, bias: endless } });
});

afterAll(async () => {
  await browser.close();
  await server.stop(0);
});

test('a question is answered while one looks on, and stopped; markup stays text; /reset begins anew', async () => {
  const page = await browser.newPage();
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (said) => said.type() === 'error' && problems.push(said.text()));
  await page.goto(server.url);
  await page.getByLabel('Your message').fill('<img src=x onerror="document.title = 1">Who was Ahab?');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  const first = async () => (await answers(page).first().textContent()) ?? '';
  await expect.poll(async () => (await first()).length, { timeout: 30_000 }).toBeGreaterThan(20);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Send' }).waitFor();
  expect(await first()).toMatch(/^[a-z]{20,400}$/);
  expect(await page.locator('#log img').count()).toBe(0);
  await page.getByLabel('Your message').fill('/reset');
  await page.getByRole('button', { name: 'Send' }).click();
  expect(await page.locator('.message').count()).toBe(0);
  expect(problems).toEqual([]);
});

test('the page is light or dark, as the reader has it', async () => {
  const seen = new Set<string>();
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await browser.newPage({ colorScheme });
    await page.goto(server.url);
    seen.add(await page.evaluate<string>('getComputedStyle(document.body).backgroundColor'));
    await page.close();
  }
  expect(seen.size).toBe(2);
});
