import { rmSync } from 'node:fs';
import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';
import { openModelForText } from '../src/open-text.ts';
import { modelFlags } from '../src/options.ts';
import { tinyFolder } from './support/tiny-folder.ts';
import { END } from './support/tiny-text.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});
const schema = z.object(modelFlags);

test('a folder becomes a decoder of so many slots, and its vocabulary', async () => {
  const folder = await tinyFolder();
  folders.push(folder);
  const { name, decoder, vocabulary } = await openModelForText(schema.parse({ model: folder, maxSeqLen: 32 }), {
    slots: 3,
  });
  expect([name, decoder.slots, decoder.maxSeqLength, decoder.vocabulary]).toEqual([folder, 3, 32, 259]);
  expect([...vocabulary.ends]).toEqual([END]);
  const [logits] = await decoder.step([{ token: 65, slot: 2, position: 0, wanted: 5 }]);
  expect(logits?.ids?.length).toBe(5);
  await decoder.close();
});

test('without a limit a sequence is as long as the model was trained for', async () => {
  const folder = await tinyFolder();
  folders.push(folder);
  const { decoder } = await openModelForText(schema.parse({ model: folder }), { slots: 1 });
  expect(decoder.maxSeqLength).toBe(512);
  await decoder.close();
});

test('a model that is not there is a sentence', async () => {
  const opening = openModelForText(schema.parse({ model: '/nowhere' }), { slots: 1 });
  await expect(opening).rejects.toThrow('model=/nowhere is no model here');
});
