import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { metrics } from '../src/index.ts';
import { printed } from './cluster-command.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-metrics-'));
afterAll(() => rmSync(root, { recursive: true }));

const figures = { gradNorm: 1, learningRate: 1e-3, milliseconds: 10, memoryBytes: 12e8, mfu: 0.5012 };

beforeAll(() => {
  const folder = join(root, 'a "b", c');
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), '{"model":"nano","dp":2,"tp":2,"steps":10}');
  writeFileSync(join(folder, 'status.json'), '{"state":"timeout","job":"3","detail":"the time limit","time":""}');
  const lines = [1, 2, 3, 4, 5].map((step) =>
    JSON.stringify({ step, loss: 5 - step / 10, tokensPerSecond: step < 4 ? 1 : 160_000, ...figures }),
  );
  writeFileSync(join(folder, 'metrics.jsonl'), `${lines.join('\n')}\n{"step":6,`);
  writeFileSync(join(root, 'alone.jsonl'), `${lines[4]}\n`);
});

test('a table, and a file with every column', async () => {
  expect(await printed(() => metrics([root]))).toBe(
    [
      'run       status   layout   steps    loss  validation  tok/s/GPU    mfu   memory',
      'a "b", c  timeout  dp2 tp2  5/10   4.5000                  40.0K  50.1%  1.20 GB  the time limit',
      'alone                       5      4.5000                                1.20 GB',
      `2 runs, in ${root}/metrics.csv`,
    ].join('\n'),
  );
  const [head = '', first = '', ...rest] = readFileSync(join(root, 'metrics.csv'), 'utf8').trimEnd().split('\n');
  expect(head).toBe(
    'run,status,model,dp,pp,cp,tp,zero,precision,micro_batch_size,grad_acc_steps,seq_length,devices,step,steps,loss,' +
      'validation_loss,median_step_ms,median_tokens_s,median_tokens_s_device,median_mfu,peak_memory_bytes,note',
  );
  expect(first).toBe(
    '"a ""b"", c",timeout,nano,2,1,1,2,false,float32,8,1,128,4,5,10,' +
      '4.5,,10,160000,40000,0.5012,1200000000,the time limit',
  );
  expect(rest).toEqual([`alone${','.repeat(13)}5,,4.5${','.repeat(6)}1200000000,`]);
});

test('the warm-up and the file are as one says', async () => {
  const csv = join(root, 'other.csv');
  await printed(() => metrics([root, '--warmUp', '0', '--csv', csv]));
  expect(readFileSync(csv, 'utf8')).toContain(',10,1,0.25,0.5012,'); // the median of 1 1 1 160000 160000
  await expect(metrics([root, '--csv', join(root, 'none', 'x.csv')])).rejects.toThrow(/^--csv .* can't be written/);
  await expect(metrics([root, root])).rejects.toThrow(/metrics takes one folder/);
});
