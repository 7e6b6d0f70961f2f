import { test } from 'vitest';
import { KINDS, survive } from './hostile.ts';

test.each(KINDS)('40 hostile files: %s', (kind) => survive(kind, 40));
