import { chmodSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launchChromium } from '../src/chromium.ts';

test('the first program that is there is started, headless', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'chromium-'));
  const program = join(folder, 'browser');
  writeFileSync(program, `#!/bin/sh\necho "$@" > ${folder}/said\nexit 3\n`);
  chmodSync(program, 0o755);
  await expect(launchChromium({ installed: [join(folder, 'none'), program], flags: ['--one'] })).rejects.toThrow(
    'exitCode=3',
  );
  expect(readFileSync(join(folder, 'said'), 'utf8')).toMatch(/--headless .*--no-sandbox --one/);
});
