import { UserError } from '@fourfold/runtime';
import { settings } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { checkWithoutDisk } from '../src/index.ts';

test.each(['checkpoints', 'gradients', 'trace', 'export'])('%s names a file, and is refused', (key) => {
  const config = settings.parse({ [key]: 'a/b' });
  expect(() => checkWithoutDisk(config)).toThrow(
    new UserError(`${key}=a/b needs a disk, and this run has none: leave it out`),
  );
});

test('a run that names no file needs no disk', () => {
  expect(() => checkWithoutDisk(settings.parse({}))).not.toThrow();
});
