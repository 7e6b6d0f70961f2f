import { expect, test } from 'vitest';
import { bench, expectRefused, python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();

test('beside torch: the ratio of the medians', async () => {
  const ranks = `echo '{"4": [1000, 3000, 2000]}'`;
  const fake = python(folder, 'with', 'exit 0', ranks);
  const flags = ['--rounds', '1', '--ranks', '2', '--sizes', '4', '--algorithm', 'ring', '--python', fake];
  const { code, stdout, stderr } = await bench('collectives.ts', ...flags);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const row = stdout.trimEnd().split('\n').at(-1) as string;
  expect(row).toMatch(/2000\.000 +0\.00 +0\.00 of the time$/);
});

test.each([
  [['--ranks', '1'], /^--ranks 1: .*at least 2/],
  [['--transport', 'smoke'], /^--transport smoke: .*tcp, nccl/],
])('%j is refused in a sentence', (flags, sentence) => expectRefused(sentence, 'collectives.ts', ...flags));
