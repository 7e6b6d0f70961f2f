import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { fileOf, type Manifest, parseManifest, problemOf } from '../src/manifest.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-manifest-'));
afterAll(() => rmSync(folder, { recursive: true }));

const sha256 = createHash('sha256').update('weights').digest('hex');
const file = { name: fileOf(3), bytes: 7, sha256 };
const layout = { dp: 1, pp: 2, cp: 1, tp: 2 };
const sound: Manifest = { format: 1, step: 3, updates: 2, layout, settings: {}, model: {}, tokens: 9, files: [file] };

test('what is written is read back', () => {
  expect(file.name).toBe('rank-0003.safetensors');
  expect(parseManifest(JSON.stringify(sound), 'here')).toEqual(sound);
  const window = { losses: [1.5], norms: [2] };
  expect(parseManifest(JSON.stringify({ ...sound, window }), 'here').window).toEqual(window);
});

test.each<[string, RegExp]>([
  ['{"format": 1', /^here is damaged: checkpoint\.json is no JSON/],
  [JSON.stringify({ ...sound, format: 2 }), /^here is damaged: checkpoint\.json has format/],
  [JSON.stringify({ ...sound, step: -1 }), /has step/],
  [JSON.stringify({ ...sound, layout: { ...layout, tp: 0 } }), /has layout\.tp/],
  [JSON.stringify({ ...sound, files: [{ ...file, name: '../rank-0003.safetensors' }] }), /has files\.0\.name/],
  [JSON.stringify({ ...sound, files: [{ ...file, bytes: 1.5 }] }), /has files\.0\.bytes/],
])('%s is refused', (text, sentence) => {
  const parse = () => parseManifest(text, 'here');
  expect(parse).toThrow(UserError);
  expect(parse).toThrow(sentence);
});

test('a file with all its bytes has no problem; one byte changed, one missing or none there is one', async () => {
  const path = join(folder, file.name);
  writeFileSync(path, 'weights');
  expect(await problemOf(folder, file)).toBeUndefined();
  writeFileSync(path, 'weighty');
  expect(await problemOf(folder, file)).toBe('rank-0003.safetensors has other bytes than were written (SHA-256)');
  truncateSync(path, 6);
  expect(await problemOf(folder, file)).toBe('rank-0003.safetensors has 6 bytes, not 7');
  rmSync(path);
  expect(await problemOf(folder, file)).toMatch(/^rank-0003\.safetensors can't be read: ENOENT/);
});
