import { readdirSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { median, tableRow, trained } from '../src/training.ts';
import { temporaryFolder, tiny } from './command.ts';

const folder = temporaryFolder();

test('each step of the run, without its validation', async () => {
  const one = await trained(tiny);
  expect(one.map(({ step }) => step)).toEqual([1, 2]);
  for (const { loss, milliseconds } of one) {
    expect(Math.abs(loss - Math.log(256))).toBeLessThan(0.5); // 256 bytes, and it knows nothing yet
    expect(milliseconds).toBeGreaterThan(0);
  }
});

test('flags that the command refuses: its sentence, and no folder is left', async () => {
  vi.stubEnv('TMPDIR', folder); // nobody else's folders in it
  await expect(trained({ ...tiny, tp: 3 })).rejects.toMatchObject({
    name: 'UserError',
    message: /^tp=3 does not divide/,
  });
  expect(readdirSync(folder).filter((name) => name.startsWith('fourfold-training-'))).toEqual([]);
  vi.unstubAllEnvs();
});

test('a median is the middle one by size, not by text', () => {
  expect(median([100, 9, 20])).toBe(20);
  expect(median([])).toBeNaN();
});

test('a row has its name on the left and its numbers under each other', () => {
  expect(tableRow(['dp2', '7', '12.5'], [5, 3, 6])).toBe('dp2      7    12.5');
});
