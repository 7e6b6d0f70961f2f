/** The race of layouts against one GPU, on CPUs and over TCP: its tables, its files, PyTorch's turn, and what fails. */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bench, cellsOf, expectRefused, python, temporaryFolder } from './command.ts';
import { expectRefusedWith, nano, withFlags } from './gpu-ranks-flags.ts';

const folder = temporaryFolder();

test('layouts against one rank, which runs once for both; all figures are kept, and traces', async () => {
  const [out, trace] = [join(folder, 'results'), join(folder, 'traces')];
  const flags = ['--layouts', 'dp2,tp2-sp', '--warmup', '1', '--steps', '3', '--out', out, '--trace', trace] as const;
  const { code, stdout, stderr } = await bench(...nano, ...flags);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, head, ...lines] = stdout.trimEnd().split('\n');
  expect(title).toBe('nano, 1 layers, 0.000 B parameters, bfloat16');
  expect(cellsOf(head)).toEqual(['ranks', 'ms', 'tok/s', 'tok/s each', 'MFU each', 'memory', 'speed-up']);
  const rows = lines.slice(0, 3).map(cellsOf);
  expect(rows.map(([name, ranks]) => [name, ranks])).toEqual([
    ['alone: batch 4, seq 16', '1'],
    ['dp2', '2'],
    ['tp2-sp', '2'],
  ]);
  const [alone, dp2, tp2] = rows.map(([, , ms, all, each]) => ({
    ms: Number(ms),
    all: Number(all),
    each: Number(each),
  }));
  for (const [row, tokens] of [
    [alone, 64],
    [dp2, 128],
    [tp2, 64],
  ] as const)
    expect(Math.abs((row?.all ?? 0) / ((1000 * tokens) / (row?.ms ?? 1)) - 1)).toBeLessThan(0.02); // of few digits
  expect(Math.abs((dp2?.each ?? 0) - (dp2?.all ?? 0) / 2)).toBeLessThanOrEqual(1);
  expect(Number.parseFloat(rows[2]?.at(-1) ?? '')).toBeCloseTo((tp2?.all ?? 0) / (alone?.all ?? 1), 1);

  const [file = ''] = readdirSync(out);
  expect(file).toMatch(/^gpu-ranks-nano-dp2_tp2-sp-\d+-CPU-threads?\.json$/);
  const { runs, asked, ...rest } = JSON.parse(readFileSync(join(out, file), 'utf8'));
  expect(Object.keys(rest)).toEqual(['date', 'device', 'node', 'tensorflow']);
  expect(asked).toMatchObject({
    batch: 4,
    layers: 1,
    precision: 'bfloat16',
    gradients: 'bfloat16',
    moments: 'bfloat16',
    masterWeights: false,
  });
  expect(JSON.stringify(asked)).not.toContain(folder); // no paths of this machine
  expect(runs.map(({ who }: { who: string }) => who)).toEqual(rows.map(([name]) => name));
  expect(runs[1].ranks.map((rank: { milliseconds: number[] }) => rank.milliseconds.length)).toEqual([3, 3]);
  expect(runs[1].speedUp).toBeCloseTo(runs[1].tokensPerSecond / runs[0].tokensPerSecond, 10);
  expect(readdirSync(trace).sort()).toEqual(['alone-batch-4-seq-16.json', 'dp2.json', 'tp2-sp.json']);
});

test("with --torch PyTorch's DDP has its turn after a dp layout, by torchrun, with the same work", async () => {
  const [asked, out] = [join(folder, 'asked.txt'), join(folder, 'with-torch')];
  const reply = { version: '9.9', device: 'NVIDIA H200', milliseconds: [2, 1, 9], peakBytes: 5e6, loss: 5 };
  const fake = python(folder, 'fake', 'exit 0', `echo "$@" > '${asked}'; echo '${JSON.stringify(reply)}'`);
  const flags = ['--layouts', 'dp2', '--warmup', '1', '--steps', '1', '--torch', 'compile', '--python', fake] as const;
  const { code, stdout } = await bench(...nano, ...flags, '--out', out);
  expect(code).toBe(0);
  const words = readFileSync(asked, 'utf8');
  expect(words).toMatch(/^-m torch\.distributed\.run --standalone --nproc-per-node 2 \S+torch_gpu\.py \{/);
  const task = JSON.parse(words.slice(words.indexOf('{')));
  expect(task).toMatchObject({ layers: 1, dim: 64, batch: 4, seq: 16, warmup: 1, steps: 1, compile: true });
  const [, , , dp2, ddp] = stdout.split('\n').map(cellsOf);
  expect([dp2?.[0], ...(ddp ?? [])]).toEqual([
    'dp2',
    "dp2: PyTorch's DDP",
    '2',
    '2.0',
    '64000',
    '32000',
    '0.0 %',
    '5 MB',
  ]);
  const { runs } = JSON.parse(readFileSync(join(out, readdirSync(out)[0] ?? ''), 'utf8'));
  expect(runs.at(-1)).toMatchObject({ who: "dp2: PyTorch's DDP", version: 'PyTorch 9.9', step: 2, losses: [5] });
});

// bfloat16 keeps 8 bits of 24: two ranks round otherwise than one from the first addition on.
test('a layout that is not as one rank fails the check, by name', async () => {
  const flags = ['--check', '--precision', 'bfloat16', '--layouts', 'tp2', '--out', ''] as const;
  const { code, stdout, stderr } = await bench(...nano, ...flags);
  expect(cellsOf(stdout.split('\n')[2]).at(-1)).toBe('FAIL');
  expect({ code, stderr }).toEqual({ code: 1, stderr: 'more than 1e-5 from one GPU: tp2\n' });
});

test('a run that fails is told, with its words, and the others go on', async () => {
  const trace = join(folder, 'blocked');
  mkdirSync(join(trace, 'alone-batch-4-seq-16.json'), { recursive: true }); // where a file should go
  const flags = ['--layouts', 'dp2', '--steps', '1', '--trace', trace, '--out', ''] as const;
  const { code, stdout, stderr } = await bench(...nano, ...flags);
  expect(code).toBe(1);
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^dp2 .* \d+ MB$/); // nothing to hold it against: no speed-up
  expect(stderr).toMatch(/^alone: batch 4, seq 16 failed: [\s\S]*EISDIR[\s\S]*\nfailed: alone: batch 4, seq 16\n$/);
});

test.each([
  [['--layouts', 'tp2-fast'], /^layout tp2-fast: "fast" is no part of a name/],
  [['--layouts', 'pp2'], /^pp=2 has more stages than layers=1/],
  [['--device', 'wasm'], /^--device wasm: use one of cuda, cpu/],
])('%j is refused in a sentence, before anything runs', (flags, sentence) =>
  expectRefused(sentence, 'gpu-ranks.ts', ...withFlags(flags)),
);

test('no GPU at all is told in a sentence', () =>
  expectRefusedWith('-1', /^device=cuda needs GPUs, and none was found: use --device cpu to try the command$/m));

test('the check: losses of one rank with the same batch, in float32', async () => {
  const out = join(folder, 'checked');
  const { code, stdout, stderr } = await bench(...nano, '--check', '--layouts', 'dp2', '--out', out);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [title, , line] = stdout.split('\n');
  expect(title).toMatch(/float32$/);
  const [name, ranks, first, last, losses, norm, word] = cellsOf(line);
  expect([name, ranks, word]).toEqual(['dp2', '2', 'ok']);
  expect(Number(first)).toBeGreaterThan(Number(last)); // it trains
  expect(Math.max(Number(losses), Number(norm))).toBeLessThan(1e-5);
  const { runs } = JSON.parse(readFileSync(join(out, readdirSync(out)[0] ?? ''), 'utf8'));
  expect(runs[0].losses).toHaveLength(3);
});
