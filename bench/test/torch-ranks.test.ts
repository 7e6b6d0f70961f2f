import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type LlamaConfig, MODELS } from '@fourfold/model';
import { settings } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { isDataParallel, torchRanks } from '../src/torch-ranks.ts';
import { python, temporaryFolder } from './command.ts';

const folder = temporaryFolder();

test('DDP is compared with data-parallel ranks alone', () => {
  const is = (changes: object) => isDataParallel(settings.parse(changes));
  expect([is({ dp: 2 }), is({ dp: 4 })]).toEqual([true, true]);
  expect([is({}), is({ dp: 2, zero: true }), is({ dp: 2, tp: 2 }), is({ pp: 2 })]).toEqual([
    false,
    false,
    false,
    false,
  ]);
});

test('torchrun starts as many ranks, each with the batch of one of ours', async () => {
  const asked = join(folder, 'asked.txt');
  const reply = { version: '9.9', device: 'GPU', milliseconds: [2, 1], peakBytes: 5e6, loss: 5 };
  const fake = python(folder, 'fake', 'exit 0', `echo "$@" > '${asked}'; echo '${JSON.stringify(reply)}'`);
  const config = settings.parse({ dp: 3, microBatchSize: 2, seqLength: 64 });
  const run = { compile: true, warmup: 1, steps: 2, python: fake };
  const found = await torchRanks(config, MODELS['nano'] as LlamaConfig, run);
  expect(found).toMatchObject({ version: 'PyTorch 9.9', device: 'GPU', losses: [5] });
  expect(found.ranks).toEqual([{ label: 'the slowest', milliseconds: [2, 1], peakBytes: 5e6 }]);
  const words = readFileSync(asked, 'utf8');
  expect(words).toMatch(/--standalone --nproc-per-node 3 \S+torch_gpu\.py/);
  const task = { batch: 2, seq: 64, warmup: 1, compile: true, recompute: false };
  expect(JSON.parse(words.slice(words.indexOf('{')))).toMatchObject(task);
});
