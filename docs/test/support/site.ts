/** The built site and a browser, for a file of proofs. */
import { launchChromium } from '@fourfold/chromium';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll } from 'vitest';
import { requireBuilt, type Server, serveSite } from '../../src/serve.ts';

/** Serves the site and starts a browser, with these flags, before the file's tests, and ends both after them. */
export function useSite(flags: readonly string[] = []): {
  readonly browser: () => Browser;
  readonly url: () => string;
} {
  let browser: Browser;
  let server: Server;
  beforeAll(async () => {
    requireBuilt();
    browser = await launchChromium({ flags });
    server = await serveSite();
  });
  afterAll(async () => {
    await browser.close();
    server.close();
  });
  return { browser: () => browser, url: () => server.url };
}

/** Everything that a page complains about from now on: errors, failed requests. */
export function complaintsOf(page: Page): string[] {
  const found: string[] = [];
  page.on('pageerror', (error) => found.push(`${page.url()} ${error.message}`));
  page.on('console', (said) => said.type() === 'error' && found.push(`${page.url()} ${said.text()}`));
  page.on('response', (got) => got.status() >= 400 && found.push(`${page.url()} ${got.url()}: ${got.status()}`));
  return found;
}
