/** The built site, served as a static host would serve it, under a base path: for proofs and screenshots. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { root } from './site.ts';

/** Where docs:build writes. */
export const dist = join(root, 'docs/.vitepress/dist');

/** @throws Error with the command that builds the site, where it isn't built. */
export function requireBuilt(folder = dist): void {
  if (!existsSync(join(folder, 'index.html'))) throw new Error(`${folder} is empty: npx nx run docs:build fills it`);
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

/** The file that a request means, if there is one. */
function fileFor(url: string, folder: string, base: string): string | undefined {
  const { pathname } = new URL(url, 'http://localhost');
  if (!pathname.startsWith(base)) return undefined;
  const path = join(folder, decodeURIComponent(pathname.slice(base.length)));
  const file = pathname.endsWith('/') ? join(path, 'index.html') : path;
  return existsSync(file) && statSync(file).isFile() ? file : undefined;
}

export interface Server {
  /** With the base path and a slash at its end. */
  readonly url: string;
  close(): void;
}

/** Serves a folder on a free port of this machine; what is not there gets 404 and the site's own page for it. */
export async function serveSite(folder = dist, base = '/'): Promise<Server> {
  const server = createServer((request, response) => {
    const file = fileFor(request.url ?? '/', folder, base);
    const sent = file ?? join(folder, '404.html');
    response.writeHead(file ? 200 : 404, { 'content-type': types[extname(sent)] ?? 'application/octet-stream' });
    response.end(readFileSync(sent));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}${base}`, close: () => server.close() };
}
