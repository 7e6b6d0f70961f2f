/**
 * `npx nx run docs:screenshots`: five pages of the built site as small pictures, in docs/images/site.
 *
 * They are for the README and for whoever changes the look: run it, and see in the diff what became of the pages.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launchChromium } from '@fourfold/chromium';
import { exitWith } from '@fourfold/runtime/errors';
import type { Browser, Page } from 'playwright-core';
import { requireBuilt, serveSite } from '../serve.ts';
import { root } from '../site.ts';

interface Shot {
  readonly name: string;
  readonly path: string;
  readonly colorScheme: 'light' | 'dark';
  /** What is brought to the top of the picture (default: the page's beginning). */
  readonly at?: string;
  /** What is done in the page before (default: nothing). */
  readonly first?: (page: Page) => Promise<void>;
}

/** Thirty steps on sixteen ranks, so that there are curves and bytes to see. */
async function train(page: Page): Promise<void> {
  await page.locator('[data-status="idle"]:not([inert])').waitFor();
  await page.getByRole('button', { name: /^Train on/ }).click();
  await page.waitForFunction('Number(document.querySelector("[data-step]").textContent) >= 30', undefined, {
    timeout: 300_000,
  });
  await page.evaluate('scrollTo(0, document.querySelector("section.train .buttons").offsetTop)');
}

const shots: readonly Shot[] = [
  { name: 'front', path: 'index.html', colorScheme: 'light' },
  { name: 'walkthrough', path: 'walk/data-parallel/data-parallel.ts.html', colorScheme: 'light', at: '#L102' },
  { name: 'chapter', path: 'chapters/pipeline.html', colorScheme: 'dark' },
  { name: 'figure', path: 'figures.html', colorScheme: 'light' },
  { name: 'train', path: 'train.html', colorScheme: 'dark', first: train },
];

const folder = join(root, 'docs/images/site');

/** JPEG, which keeps a page of text and colour under 100 kB. */
async function take(browser: Browser, url: string, { name, path, colorScheme, at, first }: Shot): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme });
  await page.goto(`${url}${path}${at ?? ''}`, { waitUntil: 'networkidle' });
  await first?.(page);
  await page.screenshot({ path: join(folder, `${name}.jpg`), type: 'jpeg', quality: 65 });
  await page.close();
}

try {
  requireBuilt();
  mkdirSync(folder, { recursive: true });
  const [browser, server] = [await launchChromium(), await serveSite()];
  for (const shot of shots) await take(browser, server.url, shot);
  await browser.close();
  server.close();
} catch (error) {
  exitWith(error);
}
