/** `npx fourfold bench --json` prints one line, for programs. */
import { expect, test } from 'vitest';
import { run, SMALL_BENCH } from '../support/command.ts';

test('the command prints one line of JSON', async () => {
  const { memory, tokensPerSecond } = JSON.parse((await run([...SMALL_BENCH, '--json'])).stdout);
  expect([memory.length, tokensPerSecond > 0]).toEqual([1, true]);
});
