/** `npx fourfold convert`, as its user calls it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, test, vi } from 'vitest';
import { main, withNames } from '../src/commands/convert.ts';
import { convert } from '../src/convert.ts';
import { openModelFolder } from '../src/folder.ts';
import { tinyModel } from './tiny.ts';

const scratch = mkdtempSync(join(tmpdir(), 'fourfold-convert-command-'));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

test('two names before the flags are the model and the folder', () => {
  expect(withNames(['a', 'b', '--format', 'q80'])).toEqual(['--model', 'a', '--out', 'b', '--format', 'q80']);
  expect(withNames(['--model', 'a'])).toEqual(['--model', 'a']);
  expect(withNames(['a', 'b', 'c'])).toEqual(['--model', 'a', '--out', 'b', 'c']);
});

test('it converts, and says what it wrote', async () => {
  const [from, to] = [join(scratch, 'from'), join(scratch, 'to')];
  await convert(tinyModel(), from, 'q80');
  const lines: string[] = [];
  vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
  await main([from, to, '--format', 'q40']);
  expect(lines).toEqual([`${to}: ${from} with its matrices in q40, 20 tensors`]);
  const model = openModelFolder(to);
  expect(model.tensors.get('model.embed_tokens.weight')?.format).toBe('q40');
  model.close();
});

test.each<[string[], string]>([
  [['nowhere', join(scratch, 'x')], 'model=nowhere is no model here'],
  [['a', 'b', '--format', 'q41'], '--format q41: use one of q40, q80'],
  [['a'], '--out is needed'],
  [['a', import.meta.dirname], `out=${import.meta.dirname} is there already`],
])('%j ends with one sentence and exit code 2', async (argv, says) => {
  const lines: string[] = [];
  vi.spyOn(console, 'error').mockImplementation((line) => void lines.push(String(line)));
  vi.spyOn(process, 'exit').mockImplementation(((code?: number) => {
    process.exitCode = code;
  }) as typeof process.exit);
  await main(argv);
  expect(lines.join('\n')).toContain(says);
  expect(process.exitCode).toBe(2);
});
