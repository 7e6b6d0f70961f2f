import { expectNoLeak } from '@fourfold/runtime/testing';
import { expect, test } from 'vitest';
import { writeSample } from '../src/index.ts';
import { onRanks } from './ranks.ts';

test('two ranks write what one writes; only the first has the text', async () => {
  const settings = { sampleTokens: 12, temperature: 0, prompt: 'It' };
  const [one] = await onRanks(settings, (rank) => expectNoLeak(() => writeSample(rank)));
  const [first, second] = await onRanks({ ...settings, tp: 2 }, writeSample);
  expect(one).toMatch(/^It./s);
  expect([first, second]).toEqual([one, undefined]);
});
