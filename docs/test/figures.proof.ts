/**
 * The figures in a real browser, from the built site (`npx nx run docs:proof` builds it first): each answers to
 * its controls with what the packages say, by keyboard too, and axe finds nothing.
 */
import { bubble } from '@fourfold/pipeline-parallel';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ringFigure } from '../src/figures/ring.ts';
import { percent } from '../src/figures/words.ts';
import { violationsOn } from './support/axe.ts';
import { complaintsOf, useSite } from './support/site.ts';

const { browser, url } = useSite();
let page: Page;
let complaints: string[];

beforeEach(async () => {
  page = await open({});
});

afterEach(async () => {
  await page.context().close();
  expect(complaints).toEqual([]);
});

async function open(options: Parameters<Browser['newContext']>[0]): Promise<Page> {
  const one = await (await browser().newContext(options)).newPage();
  complaints = complaintsOf(one);
  await one.goto(`${url()}figures.html`);
  for (const shown of ['[data-exposed]', '[data-difference]', '[data-bytes]', '.mesh button'])
    await one.locator(shown).first().waitFor();
  return one;
}

const figure = (title: string): Locator => page.getByRole('figure', { name: title });
const set = (of: Locator, label: string, value: number) => of.getByLabel(label, { exact: true }).fill(String(value));
const choose = (of: Locator, label: string) => of.getByRole('radio', { name: label, exact: true }).check();
/** Waits until a number says so: what ranks compute comes a moment after the slider. */
const says = (of: Locator, name: string, text: string | RegExp) =>
  expect.poll(() => of.locator(`[data-${name}]`).textContent()).toMatch(text);

describe('a pipeline', () => {
  test('its idle share is the formula, for other ranks, micro-batches, engines and chunks', async () => {
    const of = figure("A pipeline's schedule");
    await set(of, 'Ranks (pp)', 8);
    await set(of, 'Micro-batches', 16);
    const plain = percent(bubble({ engine: '1f1b', pp: 8, chunks: 1, micros: 16 }));
    await says(of, 'idle', plain);
    await says(of, 'formula', plain);
    expect(await of.locator('.cell').count()).toBe(8 * 16 * 2);
    await choose(of, 'Interleaved');
    await set(of, 'Chunks a rank', 4);
    const interleaved = percent(bubble({ engine: 'interleaved', pp: 8, chunks: 4, micros: 16 }));
    await says(of, 'idle', interleaved);
    await says(of, 'formula', interleaved);
    expect(await of.locator('.cell').count()).toBe(8 * 16 * 2 * 4);
  });

  test('AFAB holds every micro-batch, 1F1B as many as ranks are left', async () => {
    const of = figure("A pipeline's schedule");
    const counts = () => of.locator('.count').allInnerTexts();
    expect(await counts()).toEqual(['4 of 4', '2 of 3', '2 of 2', '1 of 1']);
    await choose(of, 'AFAB');
    expect((await counts()).map((text) => text.split(' of ')[1])).toEqual(['8', '8', '8', '8']);
  });

  test('time goes on by arrow keys, and when played', async () => {
    const of = figure("A pipeline's schedule");
    const time = of.getByRole('slider', { name: 'Time' });
    await time.focus();
    await page.keyboard.press('ArrowRight');
    expect(await time.inputValue()).toBe('10.5');
    await of.getByRole('button', { name: 'Play' }).click();
    await expect.poll(async () => Number(await time.inputValue())).toBeGreaterThan(11);
    await of.getByRole('button', { name: 'Pause' }).click();
    const stopped = await time.inputValue();
    await page.waitForTimeout(200);
    expect(await time.inputValue()).toBe(stopped);
  });
});

test('a split product: what is sent in a step, and that ranks find what one does', async () => {
  const of = figure('A product split over ranks');
  await says(of, 'bytes', 'nothing');
  await set(of, 'Step', 3);
  await says(of, 'bytes', '64 B, allReduce');
  await says(of, 'formula', '64 B');
  await choose(of, '4');
  await says(of, 'bytes', '96 B, allReduce');
  await choose(of, 'Split (sequence parallel)');
  await says(of, 'bytes', '48 B, reduceScatter');
  await says(of, 'difference', /^0$/);
});

test('a ring: zigzag evens the work, and the bytes are the formula', async () => {
  const of = figure('Ring attention, step by step');
  const work = async () => {
    const sums: number[] = Array(4).fill(0);
    for (const bar of await of.locator('.work').all()) {
      const rank = Number(await bar.getAttribute('data-rank'));
      sums[rank] = (sums[rank] as number) + Number(await bar.getAttribute('data-pairs'));
    }
    return sums;
  };
  const uneven = await work();
  expect(Math.max(...uneven) / Math.min(...uneven)).toBeGreaterThan(6);
  await says(of, 'busy', percent(ringFigure({ cp: 4, order: 'contiguous' }).busy));
  await choose(of, 'Zigzag');
  await says(of, 'busy', '100.0%');
  expect(new Set(await work()).size).toBe(1);
  await set(of, 'Ranks (cp)', 8);
  await says(of, 'bytes', '22 KiB'); // 7 of k and v twice, 8 of dk and dv, 1 KiB each
  await says(of, 'formula', '22 KiB');
});

test('buckets: naive exposes all, ZeRO sends twice as many messages, a faster link exposes less', async () => {
  const of = figure('Gradients on their way while backward goes on');
  const exposed = async () => Number.parseFloat((await of.locator('[data-exposed]').textContent()) ?? '');
  const overlapped = await exposed();
  await choose(of, 'Naive');
  await says(of, 'messages', '38');
  expect(await exposed()).toBeGreaterThan(5 * overlapped);
  await choose(of, 'ZeRO-1');
  await says(of, 'messages', '18');
  const slow = await exposed();
  await set(of, 'Link', 4);
  expect(await exposed()).toBeLessThan(slow);
  await set(of, 'Ranks (dp)', 2);
  await says(of, 'bytes', '3.13 MiB');
  await says(of, 'formula', '3.13 MiB');
});

test('the mesh: a rank that has the focus shows its groups', async () => {
  const of = figure('The mesh: who talks to whom');
  await of.getByRole('button', { name: /^5/ }).focus();
  await expect.poll(() => of.locator('.summary').textContent()).toContain('Rank 5 is dp0 pp1 cp0 tp1');
  expect(await of.locator('button.shared').count()).toBe(4);
  await set(of, 'Tensor (tp)', 3);
  await expect.poll(() => of.locator('.mesh button').count()).toBe(24);
});

test.each(['light', 'dark'] as const)('axe finds nothing, %s', async (colorScheme) => {
  await page.context().close();
  page = await open({ colorScheme });
  expect(await violationsOn(page, '.figure')).toEqual([]);
});

test('on a phone figures scroll inside, and the page does not', async () => {
  await page.context().close();
  page = await open({ viewport: { width: 390, height: 800 } });
  const [wide, inner] = await page.evaluate(() => {
    const drawings = [...document.querySelectorAll('.figure .scroll')];
    return [document.documentElement.scrollWidth, drawings.filter((one) => one.scrollWidth > one.clientWidth).length];
  });
  expect(wide).toBe(390);
  expect(inner).toBeGreaterThan(0);
});
