/** The page that trains, as proofs use it. */
import type { Page } from 'playwright-core';
import { expect } from 'vitest';

/** Opens it and waits until it hears clicks; `url` is the site's. */
export async function openTraining(page: Page, url: string): Promise<void> {
  await page.goto(`${url}train.html`);
  await page.locator('[data-status="idle"]:not([inert])').waitFor();
}

/** Takes one of a group's values. */
export const choose = (page: Page, group: string, value: string): Promise<void> =>
  page.getByRole('group', { name: group, exact: true }).getByRole('radio', { name: value, exact: true }).check();

/** How many steps are done. */
export const stepsOf = async (page: Page): Promise<number> => Number(await page.locator('[data-step]').textContent());

/** Waits until so many steps are done: seconds each where the machine has other work. */
export const atStep = (page: Page, step: number, timeout = 240_000): Promise<void> =>
  expect.poll(() => stepsOf(page), { timeout, interval: 200 }).toBeGreaterThanOrEqual(step);
