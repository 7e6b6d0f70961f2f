/**
 * A Chromium for proofs that look at pages: the machine's own where one is installed, else one that is fetched once.
 *
 *     const browser = await launchChromium()
 *     const page = await browser.newPage()
 */
import { existsSync } from 'node:fs';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { type Browser, chromium } from 'playwright-core';
import { fetchChromium } from './fetch.ts';

/** Where Linux distributions put it. */
const usual = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'] as const;

/** Where the browser comes from. */
export interface ChromiumOptions {
  /** Programs to look for before one is fetched; none to fetch in any case. */
  readonly installed?: readonly string[];
  /** The folder that a fetched one is kept in (default: the user's cache). */
  readonly cache?: string;
  /** Flags for it, beside those that it always gets. */
  readonly flags?: readonly string[];
}

/**
 * A headless browser. The caller closes it. Pages of our own alone are opened, so it needs no sandbox.
 *
 * @throws UserError where none is installed and none can be fetched
 */
export async function launchChromium({
  installed = usual,
  cache = cacheDirectory(),
  flags = [],
}: ChromiumOptions = {}): Promise<Browser> {
  const own = installed.find((path) => existsSync(path));
  const { executablePath, env } = own ? { executablePath: own, env: {} } : await fetchChromium(cache);
  return chromium.launch({ executablePath, env: { ...process.env, ...env }, args: ['--no-sandbox', ...flags] });
}
