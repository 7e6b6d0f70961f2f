import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, expect, test } from 'vitest';
import { openSafetensors, writeSafetensors } from '../src/safetensors.ts';
import { openSlices, writeInTurn } from '../src/slices.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-slices-'));
afterAll(() => rmSync(folder, { recursive: true }));

const rows = Float32Array.from({ length: 12 }, (_, i) => i);
const bits = Uint16Array.of(0x3f80, 0xc000);

test('a file written in turn has the bytes of one written whole, and each is made when its turn comes', async () => {
  const [whole, turned] = [join(folder, 'whole'), join(folder, 'turned')];
  await writeSafetensors(
    whole,
    new Map([
      ['rows', { dtype: 'F32', shape: [4, 3], data: rows }],
      ['bits', { dtype: 'BF16', shape: [2], data: bits }],
    ]),
    { format: 'pt' },
  );
  const made: string[] = [];
  const make = (name: string, data: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>) => async () => {
    made.push(name);
    return data;
  };
  await writeInTurn(
    turned,
    new Map([
      ['bits', { dtype: 'BF16', shape: [2], make: make('bits', bits) } as const],
      ['rows', { dtype: 'F32', shape: [4, 3], make: make('rows', rows) } as const],
    ]),
    { format: 'pt' },
  );
  expect(readFileSync(turned)).toEqual(readFileSync(whole));
  expect(made).toEqual(['rows', 'bits']); // the widest first
});

test('elements of a tensor, and no others', async () => {
  const file = openSlices(join(folder, 'whole'));
  expect(file.tensors.get('rows')).toMatchObject({ dtype: 'F32', shape: [4, 3] });
  expect([...file.read('rows', 4, 7)]).toEqual([4, 5, 6]);
  expect([...file.read('bits', 1, 2)]).toEqual([0xc000]);
  file.close();
  const other = await openSafetensors(join(folder, 'whole'));
  expect(await other.read('rows')).toEqual(rows);
  await other.close();
});

test('too few bytes for a shape are a mistake of ours', async () => {
  const short = new Map([['a', { dtype: 'F32', shape: [4], make: async () => rows.slice(0, 3) } as const]]);
  await expect(writeInTurn(join(folder, 'short'), short, {})).rejects.toThrow('12 bytes for F32 [4]');
});

test('a file that is cut short, before or after it was opened, is refused by its name', () => {
  const path = join(folder, 'cut');
  writeFileSync(path, readFileSync(join(folder, 'whole')));
  const file = openSlices(path);
  truncateSync(path, 200);
  expect(() => file.read('rows', 0, 12)).toThrow(UserError);
  file.close();
  expect(() => openSlices(path)).toThrow(`${path} is no sound safetensors file: its header describes`);
  truncateSync(path, 5);
  expect(() => openSlices(path)).toThrow("it has 5 bytes, and the header's length alone takes 8");
});
