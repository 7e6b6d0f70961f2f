import { expect, test } from 'vitest';
import { trainingCommand } from '../src/page.ts';

test('a page that imports train.ts starts no command', async () => {
  await expect(trainingCommand()).resolves.toBeUndefined();
});
