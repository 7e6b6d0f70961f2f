import { test } from 'vitest';
import { expectRefused } from './command.ts';

test('a picture that can not be written is refused in a sentence, before anything is trained', () =>
  expectRefused(
    /^--out \/nowhere\/a.svg can't be written .*: name a file in a folder that is there/,
    'layouts.ts',
    ...['--out', '/nowhere/a.svg'],
  ));
