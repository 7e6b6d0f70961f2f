/**
 * The chat page in Chromium: `npx nx run inference:browser-proof`.
 *
 * Where no Chromium is installed, one is fetched.
 */
import assert from 'node:assert/strict';
import { launchChromium } from '@fourfold/chromium';
import { exitWith } from '@fourfold/runtime/errors';
import type { Browser, Page } from 'playwright-core';
import { bigContext, letters, testServer } from './support/test-server.ts';

/** Letters without end, 20 ms each. */
const endless = (token: number): number => letters(token) - (token > 255 ? 99 : 0);

const answers = (page: Page) => page.locator('.message.assistant > span:last-child');

/** A question, answered while one looks on; stopped; markup that stays text; and a new beginning. */
async function tryChat(page: Page, url: string): Promise<void> {
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (said) => said.type() === 'error' && problems.push(said.text()));
  await page.goto(url);
  await page.getByLabel('Your message').fill('<img src=x onerror="document.title = 1">Who was Ahab?');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  const first = () => answers(page).first().textContent();
  while (((await first()) ?? '').length <= 20) await page.waitForTimeout(20);
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('button', { name: 'Send' }).waitFor();
  assert.match((await first()) ?? '', /^[a-z]{20,400}$/);
  assert.equal(await page.locator('#log img').count(), 0);
  await page.getByLabel('Your message').fill('/reset');
  await page.getByRole('button', { name: 'Send' }).click();
  assert.equal(await page.locator('.message').count(), 0);
  assert.deepEqual(problems, []);
}

/** The page's colours, light and dark. */
async function tryColours(browser: Browser, url: string): Promise<void> {
  const seen = new Set<string>();
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await browser.newPage({ colorScheme });
    await page.goto(url);
    seen.add(await page.evaluate<string>('getComputedStyle(document.body).backgroundColor'));
    await page.close();
  }
  assert.equal(seen.size, 2);
}

try {
  const browser = await launchChromium();
  const server = await testServer({ fake: { ...bigContext, delay: 20, bias: endless } });
  try {
    await tryChat(await browser.newPage(), server.url);
    await tryColours(browser, server.url);
    console.log(`The chat page works in Chromium ${browser.version()}`);
  } finally {
    await browser.close();
    await server.stop(0);
  }
} catch (error) {
  exitWith(error);
}
