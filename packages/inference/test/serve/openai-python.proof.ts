/** OpenAI's client for Python, from the package index, against `npx fourfold serve`. */
import { execFileSync } from 'node:child_process';
import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { expect, test } from 'vitest';
import { start } from '../support/command.ts';
import { tinyFolder } from '../support/tiny-folder.ts';

const VERSION = '3.57.0';

/** A Python that has the client; made once in the user's cache. */
function pythonWithClient(): string {
  const folder = join(cacheDirectory(), 'tests', `openai-${VERSION}`);
  if (!existsSync(folder)) {
    const unfinished = `${folder}.${process.pid}`;
    execFileSync('python3', ['-m', 'venv', unfinished]);
    execFileSync(join(unfinished, 'bin/python'), ['-m', 'pip', 'install', '--quiet', `openai==${VERSION}`]);
    renameSync(unfinished, folder);
  }
  return join(folder, 'bin/python');
}

test('models, chats whole and streamed, stops, choices, log-probabilities, texts, errors, keys', async () => {
  const python = pythonWithClient();
  const folder = await tinyFolder();
  const server = start(['serve', '--model', folder, '--port', '0'], { FOURFOLD_API_KEY: 'a-long-key' });
  try {
    await server.says(/served at .*\/v1/);
    const [, url = ''] = /served at (\S+),/.exec(server.stdout()) ?? [];
    const script = fileURLToPath(new URL('./openai_client.py', import.meta.url));
    const said = execFileSync(python, [script, url, 'a-long-key'], { encoding: 'utf8' });
    expect(said.trim()).toBe(`openai ${VERSION}: all is well`);
  } finally {
    server.child.kill('SIGTERM');
    await server.ended;
    rmSync(folder, { recursive: true });
  }
});
