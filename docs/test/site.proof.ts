/**
 * The built site in Chromium: `npx nx run docs:proof`. Every page on a phone's width; a page of each kind
 * looked at by axe-core, light and dark; the search; the site under a base path.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { readPages } from '../src/dead-links.ts';
import { dist, serveSite } from '../src/serve.ts';
import { root } from '../src/site.ts';
import { violationsOn } from './support/axe.ts';
import { complaintsOf, useSite } from './support/site.ts';

const { browser, url } = useSite();

const phone = { viewport: { width: 390, height: 844 }, hasTouch: true };

/** Opens a page and waits until its script has taken the HTML over. */
async function open(page: Page, address: string): Promise<void> {
  await page.goto(address, { waitUntil: 'load' });
  await page.waitForFunction('document.querySelector("#app")?.__vue_app__ !== undefined');
}

test('every page opens without a complaint, and none is wider than a phone', async () => {
  const page = await browser().newPage(phone);
  const complaints = complaintsOf(page);
  const wide: string[] = [];
  const paths = [...readPages(dist).keys()].filter((path) => path !== '404.html');
  for (const path of paths) {
    await open(page, `${url()}${path}`);
    const width = await page.evaluate<number>('document.documentElement.scrollWidth');
    if (width > phone.viewport.width) wide.push(`${path} is ${width} wide`);
  }
  await page.close();
  expect(paths.length).toBeGreaterThan(200);
  expect(complaints).toEqual([]);
  expect(wide).toEqual([]);
});

/** One page of each kind. */
const sample = [
  'index.html',
  'chapters/index.html',
  'chapters/pipeline.html',
  'glossary.html',
  'serve.html',
  'train.html',
  'walk/index.html',
  'walk/data-parallel/data-parallel.ts.html',
  'walk/runtime/native/cuda/rms-norm-grad.cu.html',
  'api/index.html',
];

for (const colorScheme of ['light', 'dark'] as const)
  test.each(sample)(`axe-core finds nothing on %s, ${colorScheme}`, async (path) => {
    for (const size of [{ viewport: { width: 1440, height: 900 } }, phone]) {
      const context = await browser().newContext({ ...size, colorScheme });
      const page = await context.newPage();
      await open(page, `${url()}${path}`);
      expect(await violationsOn(page)).toEqual([]);
      await context.close();
    }
  });

test('the search finds what a comment of the code says, and leads to its line', async () => {
  const page = await browser().newPage();
  await open(page, url());
  await page.keyboard.press('Control+k');
  await page.getByRole('searchbox').fill('buckets are filled from the last parameter');
  const first = page.locator('.VPLocalSearchBox .result').first();
  await first.waitFor();
  await first.click();
  await page.waitForURL(/\/walk\/data-parallel\/data-parallel\.ts\.html#L\d+$/);
  const { hash } = new URL(page.url());
  expect(await page.locator(`.walk-prose:has(${hash})`).textContent()).toContain(
    'Backward finishes the last layers first',
  );
  await page.close();
});

test('a link to a line shows that line', async () => {
  const page = await browser().newPage();
  await open(page, `${url()}walk/data-parallel/data-parallel.ts.html#L200`);
  await expect.poll(() => page.locator('#L200').evaluate((line) => line.getBoundingClientRect().top)).toBeLessThan(800);
  expect(await page.locator('#L200').evaluate((line) => line.getBoundingClientRect().top)).toBeGreaterThan(0);
  await page.close();
});

test('a line is marked when the page is opened at it, when a link leads to it, and on the way back', async () => {
  const page = await browser().newPage();
  const marked = () => page.locator('.shown-line').evaluateAll((lines) => lines.map(({ id }) => id));
  const colour = () => page.locator('.shown-line').evaluate((line) => getComputedStyle(line).backgroundColor);
  await open(page, `${url()}walk/data-parallel/data-parallel.ts.html#L200`);
  await expect.poll(marked).toEqual(['L200']);
  const opened = await colour();
  await page.locator('#L201 > a').click();
  await expect.poll(marked).toEqual(['L201']);
  expect(await colour()).toBe(opened);
  await page.goBack();
  await expect.poll(marked).toEqual(['L200']);

  await open(page, `${url()}chapters/data.html`);
  await page.evaluate((to) => {
    const link = Object.assign(document.createElement('a'), { href: to, textContent: 'to a line' });
    document.querySelector('.vp-doc')?.prepend(link);
  }, `${url()}walk/data-parallel/data-parallel.ts.html#L150`);
  await page.getByText('to a line').click();
  await expect.poll(marked).toEqual(['L150']);
  expect(await colour()).toBe(opened);
  await page.close();
});

test('an address that is not there gets a page that says so', async () => {
  const page = await browser().newPage();
  expect((await page.goto(`${url()}no/such/page.html`))?.status()).toBe(404);
  await page.getByText('There is no such page').waitFor();
  await page.close();
});

test('under a base path all links and assets hold, workers and wasm too', async () => {
  const outDir = mkdtempSync(join(tmpdir(), 'site-'));
  const vitepress = join(root, 'node_modules/vitepress/bin/vitepress.js');
  const options = { cwd: join(root, 'docs'), stdio: 'pipe' } as const;
  execFileSync(process.execPath, [vitepress, 'build', '.', '--base', '/fourfold/', '--outDir', outDir], options);
  const based = await serveSite(outDir, '/fourfold/');
  const page = await browser().newPage();
  const complaints = complaintsOf(page);
  for (const path of sample) await open(page, `${based.url}${path}`);
  await page.locator('.VPNavBarTitle a').click();
  await page.waitForURL(based.url);
  expect(complaints).toEqual([]);
  expect(readdirSync(outDir)).toContain('404.html');
  await page.close();
  based.close();
  rmSync(outDir, { recursive: true });
});
