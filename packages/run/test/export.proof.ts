/** What the export command is told and can't do: each mistake is a sentence. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'vitest';
import { expectRefused, folder, tiny } from './export-command.ts';

writeFileSync(join(folder, 'file'), '');

test.each([
  [['--from', tiny], /^--from and --out are needed: the options are /],
  [['--from', tiny, '--out', folder], /^out=.* is there already, with files in it: name a new folder$/],
  [['--from', tiny, '--out', join(folder, 'x'), '--dtype', 'int8'], /^--dtype int8: use float32, float16, bfloat16$/],
  [['--from', tiny, '--out', join(folder, 'x'), '--fileMegabytes', '0'], /^--fileMegabytes 0: use a number above 0$/],
])('%j is refused in a sentence, with 2', expectRefused);
