import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openPretrained } from '@fourfold/checkpoint';
import { expect, test } from 'vitest';
import { disk } from '../src/index.ts';
import { folder, onRanks } from './ranks.ts';

test('a model is exported where the settings ask for it, once by all ranks', async () => {
  const path = join(folder, 'exported');
  const lines: string[] = [];
  await onRanks({ export: path, tp: 2 }, (rank) => disk.exportModel(rank, (line) => lines.push(line)));
  expect(readdirSync(path)).toContain('config.json');
  const { shape, weights } = await openPretrained(path);
  expect(shape.vocabulary).toBe(256);
  weights.close();
  expect(lines.join('\n')).toContain(path);
});

test('no export, no model on the disk', async () => {
  const before = readdirSync(folder);
  await onRanks({}, (rank) => disk.exportModel(rank));
  expect(readdirSync(folder)).toEqual(before);
});
