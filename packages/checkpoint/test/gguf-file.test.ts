import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { openGguf } from '../src/gguf/file.ts';

const path = fileURLToPath(new URL('fixtures/tiny.gguf', import.meta.url));
const bytes = readFileSync(path);
const folder = mkdtempSync(join(tmpdir(), 'fourfold-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('settings, tensors with their outermost side first, and weights from anywhere in them', async () => {
  const file = await openGguf(path);
  expect(file.settings.get('llama.embedding_length')).toBe(64);
  expect(file.settings.get('tokenizer.ggml.tokens')).toHaveLength(268);
  expect(file.tensors.size).toBe(11);
  expect(file.tensors.get('blk.0.ffn_down.weight')).toMatchObject({ shape: [64, 256], format: { name: 'Q6_K' } });
  const all = file.read('blk.0.attn_q.weight', 0, 64 * 64);
  expect(file.read('blk.0.attn_q.weight', 64, 128)).toEqual(all.subarray(64, 128));
  file.close();
});

/** What a changed copy is refused with. */
async function refusal(name: string, change: (copy: Buffer) => Buffer): Promise<string> {
  const changed = join(folder, name);
  writeFileSync(changed, change(Buffer.from(bytes)));
  const error: unknown = await openGguf(changed).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  return (error as UserError).message.replace(`${changed} is no sound GGUF file: `, '');
}

/** A copy with the eight bytes after the first `text`, and some more, set. */
const setAfter = (copy: Buffer, text: string, skip: number, value: bigint): Buffer => {
  copy.writeBigUInt64LE(value, copy.indexOf(text) + text.length + skip);
  return copy;
};

test('what a file claims must be in it', async () => {
  expect(await refusal('empty', () => Buffer.alloc(0))).toBe('it has 0 bytes');
  expect(await refusal('magic', (copy) => copy.fill('X', 0, 1))).toBe('it does not begin with "GGUF"');
  expect(await refusal('version', (copy) => copy.fill(9, 4, 5))).toBe('it is of version 9, not 2 or 3');
  const many = (copy: Buffer) => {
    copy.writeBigUInt64LE(10n ** 6n, 8);
    return copy;
  };
  expect(await refusal('many', many)).toBe('it claims 1000000 tensors and 18 settings, more than its 81344 bytes hold');
  expect(await refusal('cut', (copy) => copy.subarray(0, 80_000))).toMatch(
    /^"blk.0.ffn_down.weight" ends at byte \d+ of/,
  );
  expect(await refusal('list', (copy) => copy.subarray(0, 6000))).toBeTruthy();
  const name = 'blk.0.attn_v.weight';
  const away = await refusal('away', (copy) => setAfter(copy, name, 4 + 16 + 4, 2n ** 62n));
  expect(away).toMatch(/^"blk.0.attn_v.weight" ends at byte 4611686018\d+ of 81344$/);
  const huge = await refusal('huge', (copy) => setAfter(copy, name, 4, 2n ** 32n));
  expect(huge).toMatch(/^"blk.0.attn_v.weight" ends at byte \d+ of 81344$/);
  const format = await refusal('format', (copy) => copy.fill(7, copy.indexOf(name) + 39, copy.indexOf(name) + 40));
  expect(format).toBe(
    '"blk.0.attn_v.weight" is in format number 7: use a file in F32, F16, Q4_0, Q4_1, Q8_0, Q6_K, BF16',
  );
  const row = await refusal('row', (copy) => setAfter(copy, 'blk.0.ffn_gate.weight', 4, 60n));
  expect(row).toBe('"blk.0.ffn_gate.weight" of shape [256,60] is not made of Q4_1 blocks of 32');
});
