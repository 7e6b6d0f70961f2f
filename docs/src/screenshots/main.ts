/**
 * `npx nx run docs:screenshots`: five pages of the built site as small pictures, in docs/images/site.
 *
 * They are for the README and for whoever changes the look: run it, and see in the diff what became of the pages.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launchChromium } from '@fourfold/chromium';
import { exitWith } from '@fourfold/runtime/errors';
import type { Browser } from 'playwright-core';
import { requireBuilt, serveSite } from '../serve.ts';
import { root } from '../site.ts';

interface Shot {
  readonly name: string;
  readonly path: string;
  readonly colorScheme: 'light' | 'dark';
  /** What is brought to the top of the picture (default: the page's beginning). */
  readonly at?: string;
}

const shots: readonly Shot[] = [
  { name: 'front', path: 'index.html', colorScheme: 'light' },
  { name: 'walkthrough', path: 'walk/data-parallel/data-parallel.ts.html', colorScheme: 'light', at: '#L79' },
  { name: 'chapter', path: 'chapters/pipeline.html', colorScheme: 'dark' },
  { name: 'figure', path: 'figures.html', colorScheme: 'light' },
  { name: 'train', path: 'train.html', colorScheme: 'dark' },
];

const folder = join(root, 'docs/images/site');

/** JPEG, which keeps a page of text and colour under 100 kB. */
async function take(browser: Browser, url: string, { name, path, colorScheme, at }: Shot): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme });
  await page.goto(`${url}${path}${at ?? ''}`, { waitUntil: 'networkidle' });
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
