/** A thousand hostile files of each kind: none crashes, hangs, or fills the memory. */
import { test } from 'vitest';
import { KINDS, survive } from './hostile.ts';

test.each(KINDS)('1,000 hostile files: %s', (kind) => survive(kind, 1000));
