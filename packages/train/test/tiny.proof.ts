/** Long runs: 16 ranks stay with one, and no layout leaves a tensor behind. */
import { test } from 'vitest';
import { expectNothingLeft, LAYOUTS } from './leaks.ts';
import { expectSameOnSixteen } from './sixteen.ts';

test('after 30 steps 16 ranks validate and write what one rank does', () => expectSameOnSixteen(30));

test.each(LAYOUTS)('a run of 50 steps leaves no tensor behind: %j', (layout) => expectNothingLeft(layout, 50));
