/**
 * The page that trains, in a real browser, from the built site (`npx nx run docs:proof` builds it first): the
 * loss falls, another layout draws the same curve, bytes equal the formulas, and it pauses, refuses and stops.
 */
import type { Page } from 'playwright-core';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { violationsOn } from './support/axe.ts';
import { complaintsOf, useSite } from './support/site.ts';
import { atStep, choose, openTraining, stepsOf } from './support/training.ts';

const { browser, url } = useSite();
let page: Page;
let complaints: string[];

beforeEach(async () => {
  page = await (await browser().newContext()).newPage();
  complaints = complaintsOf(page);
  await openTraining(page, url());
});

afterEach(async () => {
  await page.context().close();
  expect(complaints).toEqual([]);
});

const button = (name: RegExp) => page.getByRole('button', { name });
const text = async (name: string) => (await page.locator(`[data-${name}]`).textContent()) ?? '';
const loss = async () => Number(await text('loss'));

// The model begins by knowing nothing, at ln 256 = 5.55 nats a byte. 3.1 is what English has for who knows how common
// each letter is; below it the model has learnt which letter follows which. A step's loss varies by 0.1 around that.
test('sixteen ranks: the loss falls, bytes equal the formulas, and the model writes', async () => {
  await button(/^Train on 16 ranks$/).click();
  await atStep(page, 1);
  const first = await loss();
  expect(first).toBeGreaterThan(5);
  await atStep(page, 45);
  expect(await loss()).toBeLessThan(3);
  expect(await text('summary')).toMatch(/^running: dp2 × pp2 × cp2 × tp2, .* on WebAssembly on 1 thread, with SIMD$/);
  const rows = page.locator('[data-group]');
  const groups = await rows.evaluateAll((all) => all.map((row) => row.getAttribute('data-group')).sort());
  expect(groups).toEqual(['cp', 'dpCp', 'pp', 'tp']);
  expect(await page.locator('[data-equal="true"]').count()).toBe(4);
  await page.locator('[data-sample]').waitFor({ timeout: 60_000 });
  expect(await text('sample')).toMatch(/The whale .{20,}/s);
  expect(await violationsOn(page)).toEqual([]);
});

// 1e-5: the project's tolerance after 20 steps of float32.
test('another layout draws the same curve over the old one', async () => {
  await button(/^Train on/).click();
  await atStep(page, 20);
  await choose(page, 'Context (cp)', '1');
  await choose(page, 'Tensor (tp)', '4');
  await choose(page, 'Schedule', 'afab');
  await atStep(page, 20);
  expect(await text('apart')).toMatch(/^\d\.\de-\d+$/);
  expect(Number(await text('apart'))).toBeLessThan(1e-5);
  expect(await page.locator('polyline').count()).toBeGreaterThanOrEqual(2);
});

test('a pause holds, by keyboard too, and the run goes on after it', async () => {
  await button(/^Train on/).press('Enter');
  await atStep(page, 2);
  await button(/^Pause$/).press('Enter');
  await page.waitForTimeout(3000); // the step that was on its way
  await expect
    .poll(
      async () => {
        const before = await stepsOf(page);
        await page.waitForTimeout(3000);
        return (await stepsOf(page)) - before;
      },
      { timeout: 60_000 },
    )
    .toBe(0);
  const held = await stepsOf(page);
  await button(/^Go on$/).press('Enter');
  await atStep(page, held + 1);
  await button(/^Reset$/).click();
  expect([await text('step'), await text('summary')]).toEqual(['0', 'Nothing runs yet.']);
});

test('a layout that can not be is refused in the words of the package that refuses it', async () => {
  await choose(page, 'Tensor (tp)', '3');
  expect(await page.getByRole('alert').textContent()).toMatch(/^tp=3 does not divide heads=4: use 1, 2, 4/);
  expect(await button(/^Train on/).isDisabled()).toBe(true);
  await choose(page, 'Tensor (tp)', '2');
  expect(await page.getByRole('alert').count()).toBe(0);
});

test('the page answers while it trains, and its worker ends when one leaves', async () => {
  await button(/^Train on/).click();
  await atStep(page, 1);
  expect(page.workers()).toHaveLength(1);
  const start = Date.now();
  await page.evaluate('1 + 1');
  expect(Date.now() - start).toBeLessThan(1000);
  await page.getByRole('link', { name: 'Learn', exact: true }).first().click();
  await page.waitForURL(/chapters/);
  await expect.poll(() => page.workers().length, { timeout: 10_000 }).toBe(0);
});
