import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { requireBuilt, serveSite } from '../src/serve.ts';

function site(): string {
  const folder = mkdtempSync(join(tmpdir(), 'serve-'));
  mkdirSync(join(folder, 'walk'));
  for (const name of ['index.html', 'walk/index.html', '404.html', 'a.wasm']) writeFileSync(join(folder, name), name);
  return folder;
}

test('files are served under the base path, a folder by its index', async () => {
  const server = await serveSite(site(), '/fourfold/');
  const get = async (path: string): Promise<string> => {
    const answer = await fetch(new URL(path, server.url));
    return `${answer.status} ${answer.headers.get('content-type')} ${await answer.text()}`;
  };
  expect(await get('')).toBe('200 text/html; charset=utf-8 index.html');
  expect(await get('walk/')).toBe('200 text/html; charset=utf-8 walk/index.html');
  expect(await get('a.wasm')).toBe('200 application/wasm a.wasm');
  for (const missing of ['b.html', 'walk', '/index.html', '%2e%2e/x'])
    expect(await get(missing)).toBe('404 text/html; charset=utf-8 404.html');
  server.close();
});

test('a site that is not built is named, and the command that builds it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'serve-'));
  expect(() => requireBuilt(folder)).toThrow(`${folder} is empty: npx nx run docs:build fills it`);
  expect(() => requireBuilt(site())).not.toThrow();
});
