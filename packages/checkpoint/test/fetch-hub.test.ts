import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, beforeEach, expect, test } from 'vitest';
import { fetchFromHub } from '../src/fetch/hub.ts';
import { openPretrained } from '../src/pretrained.ts';

// A hub of one model, on this machine: the fixture's four files, one of them large enough to be cut amid its bytes.

const NAME = 'someone/tiny';
const fixture = fileURLToPath(new URL('fixtures/folder', import.meta.url));
const files = new Map(readdirSync(fixture).map((name) => [name, readFileSync(join(fixture, name))]));
files.set('README.md', Buffer.from('not wanted'));
const requests: string[] = [];
/** Answers a request for a file's bytes; a test may put another in its place. */
type Answer = (response: ServerResponse, bytes: Buffer, path: string) => void;
let answer: Answer;
const straight: Answer = (response, bytes) => response.end(bytes);

const sha = (kind: string, ...parts: (string | Buffer)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash(kind)).digest('hex');
const entry = (path: string, bytes: Buffer) => ({
  ...{ type: 'file', path, size: bytes.length, oid: sha('sha1', `blob ${bytes.length}\0`, bytes) },
  ...(path.endsWith('.safetensors')
    ? { lfs: { oid: sha('sha256', bytes), size: bytes.length, pointerSize: 120 } }
    : {}),
});
let extra: object[] = [];

function serve(request: IncomingMessage, response: ServerResponse): void {
  const path = decodeURIComponent(request.url ?? '').split('?')[0] ?? '';
  if (path === `/api/models/${NAME}/tree/main`) {
    response.setHeader('content-type', 'application/json');
    return void response.end(JSON.stringify([...[...files].map(([name, bytes]) => entry(name, bytes)), ...extra]));
  }
  const name = path.replace(`/${NAME}/resolve/main/`, '');
  const bytes = files.get(name);
  if (!bytes) return void response.writeHead(404, { 'x-error-code': 'RepoNotFound' }).end('{"error": "no"}');
  const [, from = '0', to = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? [];
  const [start, end] = [Number(from), to === '' ? bytes.length : Math.min(bytes.length, Number(to) + 1)];
  const isProbe = request.headers.range === 'bytes=0-0';
  if (!isProbe) requests.push(`${name} ${start}-${end}`);
  response.setHeader('etag', '"1"');
  if (request.headers.range) response.writeHead(206, { 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` });
  (isProbe ? straight : answer)(response, bytes.subarray(start, end), name);
}

const server = createServer(serve);
await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
const hubUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const cache = mkdtempSync(join(tmpdir(), 'fourfold-hub-'));
afterAll(() => {
  server.close();
  rmSync(cache, { recursive: true });
});
let folder: string;
let said: string[];
const fetchIt = (name = NAME) =>
  fetchFromHub(name, { cache: folder, hubUrl, screen: { write: (text: string) => said.push(text) } });
beforeEach(() => {
  folder = mkdtempSync(join(cache, 'cache-'));
  [answer, extra, said] = [straight, [], []];
  requests.length = 0;
});

test('the files of a model, and no others, are fetched once and load', async () => {
  const path = await fetchIt();
  expect(readdirSync(path).sort()).toEqual([...files.keys()].filter((name) => name !== 'README.md').sort());
  for (const name of readdirSync(path)) expect(readFileSync(join(path, name))).toEqual(files.get(name));
  expect(said.join('')).toBe('Fetching someone/tiny (1 MB), 7 files\n');
  const { shape, weights } = await openPretrained(NAME, 'initFrom', folder);
  expect(shape.dim).toBe(16);
  weights.close();
  const before = requests.length;
  expect(await fetchIt()).toBe(path);
  expect(requests.length).toBe(before);
});

const CUT = 'model-00002-of-00004.safetensors';

test('after an interruption it goes on where it ended', async () => {
  answer = (response, bytes, name) => {
    if (name !== CUT) return straight(response, bytes, name);
    response.setHeader('content-length', bytes.length);
    response.write(bytes.subarray(0, 4000), () => setTimeout(() => response.destroy(), 50));
  };
  const interrupted = fetchIt();
  await expect(interrupted).rejects.toThrow(UserError);
  await expect(interrupted).rejects.toThrow(/^someone\/tiny can't be fetched: .*run it again to go on where it ended$/);
  expect(existsSync(join(folder, 'models', NAME))).toBe(false);
  const partial = join(folder, 'models', `${NAME}.unfinished`, `${CUT}.partial`);
  const begun = statSync(partial).size;
  expect(begun).toBeGreaterThan(0);
  answer = straight;
  requests.length = 0;
  const path = await fetchIt();
  expect(requests[0]).toBe(`${CUT} ${begun}-${files.get(CUT)?.length}`);
  expect(requests.filter((request) => request.startsWith('config.json'))).toEqual([]);
  expect(readFileSync(join(path, CUT))).toEqual(files.get(CUT));
});

test.each(['config.json', CUT])(
  'a byte of %s that is another is found by its checksum, and the file deleted',
  async (name) => {
    answer = (response, bytes, path) => {
      const copy = Buffer.from(bytes);
      if (path === name) copy[7] = (copy[7] ?? 0) ^ 1;
      response.end(copy);
    };
    await expect(fetchIt()).rejects.toThrow(
      `${NAME}: ${name} is not what the hub lists (another checksum) and was deleted`,
    );
    expect(readdirSync(join(folder, 'models', `${NAME}.unfinished`)).filter((each) => each.startsWith(name))).toEqual(
      [],
    );
    answer = straight;
    expect(existsSync(join(await fetchIt(), name))).toBe(true);
  },
);

test('a file that goes on for ever is cut off', async () => {
  answer = (response, bytes, name) => response.end(name === CUT ? Buffer.concat([bytes, bytes]) : bytes);
  await expect(fetchIt()).rejects.toThrow(`${CUT} does not end where it should`);
});

test('paths that lead elsewhere are passed over', async () => {
  extra = ['../../evil.safetensors', '/etc/config.json', 'a/config.json', '..\\x.safetensors'].map((path) =>
    entry(path, Buffer.from('x')),
  );
  expect(readdirSync(await fetchIt()).some((name) => name.includes('evil'))).toBe(false);
});

test('what is no name, or no model, is a sentence, and the command ends with 2', async () => {
  await expect(fetchIt('../x')).rejects.toThrow('../x is no name of a model: it looks like HuggingFaceTB/SmolLM2-135M');
  await expect(fetchIt('someone/else')).rejects.toThrow("someone/else can't be fetched: the hub has no such model");
  const script = fileURLToPath(new URL('../src/fetch/main.ts', import.meta.url));
  const run = (...args: string[]) =>
    new Promise<[number | null, string, string]>((ended) => {
      const child = spawn(process.execPath, ['--import', 'tsx', script, ...args, '--cache', folder, '--hub', hubUrl]);
      const [out, err]: [string[], string[]] = [[], []];
      child.stdout.setEncoding('utf8').on('data', (text) => out.push(text));
      child.stderr.setEncoding('utf8').on('data', (text) => err.push(text));
      child.once('close', (code) => ended([code, out.join(''), err.join('')]));
    });
  expect(await run('someone/else')).toEqual([2, '', "someone/else can't be fetched: the hub has no such model\n"]);
  expect((await run())[2]).toMatch(/^A model to fetch is needed: give one name, smollm2-135m or one like /);
  const [code, out] = await run(NAME);
  expect([code, out]).toEqual([
    0,
    `${NAME} is in ${join(folder, 'models', NAME)}: train on from it with npm start -- --initFrom ${NAME}\n`,
  ]);
});
