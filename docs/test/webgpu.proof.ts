/**
 * The page that trains, on WebGPU: computed by SwiftShader on the CPU, hundreds of times slower than a card, so two
 * ranks and few steps. A Chromium without SwiftShader offers no WebGPU, and the page no choice: then it is skipped.
 */
import { expect, test } from 'vitest';
import { complaintsOf, useSite } from './support/site.ts';
import { atStep, choose, openTraining } from './support/training.ts';

const { browser, url } = useSite([
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--disable-gpu-watchdog',
]);

const STEPS = 2;
const TIMEOUT = 400_000;

// 1e-4: a card's float32 rounds its exponentials and roots in its own way.
test('WebGPU has the losses of WebAssembly, and a kernel that the card refuses ends the run', async ({ skip }) => {
  const page = await browser().newPage();
  const complaints = complaintsOf(page);
  await openTraining(page, url());
  const adapter = await page.evaluate('navigator.gpu?.requestAdapter().then((adapter) => adapter !== null)');
  if (!adapter) skip('this Chromium has no WebGPU adapter');
  await page.getByRole('checkbox', { name: 'ZeRO-1' }).uncheck();
  for (const group of ['Data (dp)', 'Pipeline (pp)', 'Context (cp)', 'Micro-batches']) await choose(page, group, '1');
  await page.getByRole('button', { name: /^Train on 2 ranks$/ }).click();
  await atStep(page, STEPS, TIMEOUT);
  await choose(page, 'Backend', 'WebGPU');
  await page.locator('[data-summary]', { hasText: 'on WebGPU' }).waitFor({ timeout: 60_000 });
  await atStep(page, STEPS, TIMEOUT);
  expect(Number(await page.locator('[data-apart]').textContent())).toBeLessThan(1e-4);
  expect(complaints).toEqual([]);
  await page.workers()[0]?.evaluate(`
    GPUDevice.prototype.createCommandEncoder = function () {
      const error = new GPUValidationError('no such kernel');
      this.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', { error }));
    };
  `);
  await page.locator('[data-summary]', { hasText: 'WebGPU: no such kernel' }).waitFor({ timeout: 60_000 });
  await expect.poll(() => page.workers().length, { timeout: 60_000 }).toBe(0);
  await page.context().close();
}, 900_000);
