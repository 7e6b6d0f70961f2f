import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const script = fileURLToPath(new URL('../src/huggingface/main.ts', import.meta.url));
const tiny = fileURLToPath(new URL('fixtures/tiny.gguf', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'fourfold-export-command-'));
afterAll(() => rmSync(folder, { recursive: true }));

const command = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', script, ...args], { encoding: 'utf8' });

test('exports in a dtype and in files of a size, and says what', () => {
  const out = join(folder, 'out');
  const { status, stdout, stderr } = command(
    '--from',
    tiny,
    '--out',
    out,
    '--dtype',
    'float16',
    '--fileMegabytes',
    '0.1',
  );
  expect([stderr, status]).toEqual(['', 0]);
  expect(stdout).toBe(`${out}: 11 tensors, 0.08 M parameters, as transformers loads them\n`);
  expect(readdirSync(out)).toContain('model-00001-of-00002.safetensors');
});

test.each([
  [['--from', tiny], /^--from and --out are needed: the options are /],
  [['--from', 'none', '--out', join(folder, 'x')], /^from=none is no model here: /],
  [['--from', tiny, '--out', folder], /^out=.* is there already, with files in it: name a new folder$/],
  [['--from', tiny, '--out', join(folder, 'x'), '--dtype', 'int8'], /^--dtype int8: use float32, float16, bfloat16$/],
  [['--from', tiny, '--out', join(folder, 'x'), '--fileMegabytes', '0'], /^--fileMegabytes 0: use a number above 0$/],
  [['--form', tiny], /^Unknown option '--form'.*: the options are --from MODEL/],
])('%j is refused in a sentence, with 2', (args, sentence) => {
  const { status, stderr } = command(...args);
  expect(stderr.trim()).toMatch(sentence);
  expect(stderr.trim().split('\n')).toHaveLength(1);
  expect(status).toBe(2);
});
