import { test } from 'vitest';
import { expectRefused } from './command.ts';
import { expectRefusedWith, withFlags } from './gpu-ranks-flags.ts';

test.each([
  [['--layouts', 'tp3'], /^tp=3 does not divide heads=4/],
  [['--steps', '0'], /^--steps 0: /],
])('%j is refused in a sentence, before anything runs', (flags, sentence) =>
  expectRefused(sentence, 'gpu-ranks.ts', ...withFlags(flags)),
);

test('too few GPUs are told in a sentence', () =>
  expectRefusedWith('0', /^layout dp2 needs 2 GPUs, and there are 1: use fewer ranks$/m));
