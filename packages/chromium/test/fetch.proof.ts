/** Fetches Chromium into an empty cache, as a machine without one would, and has it draw a page. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launchChromium } from '../src/chromium.ts';

test('a fetched Chromium opens a page, has fonts, and is fetched once', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'chromium-'));
  try {
    for (const start of [1, 2]) {
      const began = performance.now();
      const browser = await launchChromium({ installed: [], cache });
      console.log(`start ${start} took ${((performance.now() - began) / 1000).toFixed(1)} s`);
      const page = await browser.newPage();
      await page.setContent('<h1 style="display: inline">Call me Ishmael</h1>');
      expect(await page.evaluate<number>('document.querySelector("h1").offsetWidth')).toBeGreaterThan(100);
      expect(browser.version()).toMatch(/^141\./);
      await browser.close();
      expect(readdirSync(join(cache, 'chromium'))).toEqual(['141.0.0']);
    }
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
});
