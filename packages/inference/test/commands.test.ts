import { expect, test } from 'vitest';
import { commands } from '../src/commands.ts';

test.each(Object.entries(commands))('%s is a command', async (_, load) => {
  expect((await load()).main).toBeTypeOf('function');
});
