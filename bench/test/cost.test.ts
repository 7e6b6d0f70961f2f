import { test } from 'vitest';
import { expectRefused } from './command.ts';

test('a layout that is none is refused in a sentence', () =>
  expectRefused(/^--layouts tp9: use one of local16, dp4, dp2tp2/, 'cost.ts', '--layouts', 'tp9'));
