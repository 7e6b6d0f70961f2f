/** Long runs leave no tensor behind, in any kind of layout. */
import { test } from 'vitest';
import { expectNothingLeft, LAYOUTS } from './leaks.ts';

test.each(LAYOUTS)('a run of 50 steps leaves no tensor behind: %j', (layout) => expectNothingLeft(layout, 50));
