/** The curves of every precision against float32's, run as a command: its table, its file and its picture. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, cellsOf, expectRefused, temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const text = join(folder, 'text.txt');
writeFileSync(text, Array.from({ length: 900 }, (_, i) => `${i % 7} whales and ${(i * i) % 5} gulls\n`).join(''));
const nano = ['precision.ts', '--device', 'cpu', '--model', 'nano', '--data', text, '--seqLength', '16'] as const;

test('each precision against float32, in a table, a file and on a picture', async () => {
  const out = join(folder, 'results');
  const { code, stdout, stderr } = await bench(...nano, '--steps', '20', '--control', '--out', out);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, said, head, ...lines] = stdout.trimEnd().split('\n');
  expect(title).toMatch(/^nano on .*text\.txt, 20 steps of 128 tokens, on TensorFlow /);
  expect(said).toBe('relative differences from float32: steps, windows of 10 steps, the last 20');
  expect(cellsOf(head)).toEqual(['end loss', 'mean', 'largest', 'at step', 'windows', 'end', 'within 1 %']);
  const [float32, control, ...bfloat16] = lines.slice(0, 4).map(cellsOf);
  expect(float32).toEqual(['float32', expect.stringMatching(/^\d\.\d{4}$/)]);
  // The same numbers, added up in another order: the seventh digit of a loss.
  const [name, end, mean, largest, , windows, last, word] = control ?? [];
  expect([name, mean, largest, windows, last, word]).toEqual(['float32, in halves', ...Array(4).fill('0.00 %'), 'yes']);
  expect(Math.abs(Number(end) - Number(float32?.[1]))).toBeLessThan(2e-4); // of four digits, the last
  expect(bfloat16.map(([name]) => name)).toEqual(['bfloat16, float32 masters', 'bfloat16, stochastic']);

  const [json = '', svg = ''] = readdirSync(out).sort();
  expect(json).toMatch(/^precision-nano-20-steps-\d+-CPU-threads?\.json$/);
  expect(svg).toBe(json.replace('.json', '.svg'));
  const { asked, runs } = JSON.parse(readFileSync(join(out, json), 'utf8'));
  expect(asked).toMatchObject({ model: 'nano', data: 'text.txt', seqLength: 16 });
  expect(JSON.stringify({ asked, runs })).not.toContain(folder); // no paths of this machine
  expect(runs.map(({ losses }: { losses: number[] }) => losses.length)).toEqual([20, 20, 20, 20]);
  for (const { distance } of runs.slice(2)) {
    expect(distance.mean).toBeGreaterThan(1e-5); // it is bfloat16
    expect(distance.largest).toBeLessThan(0.05); // and trains as float32 does
  }
  const picture = readFileSync(join(out, svg), 'utf8');
  expect(picture).toContain('nano on text.txt, in float32 and in bfloat16');
  for (const [name] of lines.slice(0, 4).map(cellsOf)) expect(picture).toContain(`>${name}</text>`);
});

test.each([
  [['--steps', '19'], /^--steps 19: .*at least 20/],
  [['--kvHeads', '2'], /^--kvHeads is not a setting/],
  [['--layers', '0'], /^--layers 0: /],
])('%j is refused in a sentence, before anything is trained', (flags, sentence) =>
  expectRefused(sentence, 'precision.ts', '--device', 'cpu', '--model', 'nano', ...flags),
);
