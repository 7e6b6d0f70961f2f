/**
 * The module for GPUs, built and loaded where there need be no GPU: against TensorFlow for the CPU, with NVIDIA's
 * headers and its run-time compiler (115 MB) downloaded as on a machine with a GPU. What is left to a GPU is to run.
 */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { cacheDirectory } from '../src/cache.ts';
import { cudaSources } from '../src/cuda.ts';
import { findTensorflow, type Installed, setUp } from '../src/setup/index.ts';
import { homeOf } from '../src/setup/layout.ts';
import { findCompiler } from '../src/setup/look.ts';
import { type Pins, pinsFor } from '../src/setup/wheels.ts';
import {
  BFLOAT16,
  FLOAT,
  type Given,
  givenOfInference,
  INT32,
  inferenceExpectations,
  input,
  list,
  type,
} from './cuda-inference.ts';

/** TensorFlow for the CPU, the headers, and of NVIDIA's libraries the compiler alone. */
function proofPins(): Pins {
  const [cpu, cuda] = [pinsFor('cpu', 'linux-x64'), pinsFor('cuda', 'linux-x64')];
  if (!cpu || !cuda) throw new Error('no wheels are pinned for Linux');
  return { ...cuda, tensorflow: cpu.tensorflow, cuda: cuda.cuda.filter(({ folder }) => folder === 'cuda_nvrtc') };
}

let installed: Installed & { cuda: string };

// The module has a home of its own in the cache, into which the TensorFlow that is there already is linked.
beforeAll(async () => {
  const found = await findTensorflow({ variant: 'cpu' });
  if ('reason' in found) throw new Error(found.reason);
  const pins = proofPins();
  const home = homeOf(cacheDirectory(), 'cpu', pins);
  mkdirSync(home, { recursive: true });
  const tensorflow = join(home, 'tensorflow');
  if (!existsSync(tensorflow)) symlinkSync(dirname(found.include), tensorflow);
  const result = await setUp({ variant: 'cpu', pins });
  if ('reason' in result) throw new Error(result.reason);
  if (!result.cuda) throw new Error('there is no such module');
  installed = { ...result, cuda: result.cuda };
}, 1_200_000);

// ## What TensorFlow knows of each op

interface Answer {
  readonly kernels?: readonly string[];
  readonly outputs?: readonly (readonly number[] | null)[];
  readonly error?: string;
}

/** Puts questions (see cuda-ops.cc) to a program that loads the two libraries of ops. */
async function ask(questions: readonly string[]): Promise<Answer[]> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-cuda-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const program = join(folder, 'cuda-ops');
  const source = fileURLToPath(new URL('cuda-ops.cc', import.meta.url));
  const tensorflow = installed.libraries.toReversed();
  const { command } = await findCompiler();
  const search = `-Wl,-rpath,${dirname(installed.libraries[0] ?? '')}`;
  execFileSync(command, ['-std=c++17', '-w', `-I${installed.include}`, source, '-o', program, ...tensorflow, search]);
  const answers = execFileSync(program, [installed.ops, installed.cuda], {
    input: questions.join('\n'),
    encoding: 'utf8',
  });
  return answers.trimEnd().split('\n').map((line) => JSON.parse(line) as Answer); // biome-ignore format: one chain
}

/** Every op: its inputs and attributes, and its outputs' shapes. N 6, D 16; B 2, T 8, H 4, G 2, K 32; V 50. */
function expectations(T: number): [question: string, outputs: number[][], kernels?: string[]][] {
  const attrs = type('T', T);
  const grads = `${attrs} ${type('G', T)}`;
  const [x, norm, q] = [input(T, 6, 16), input(T, 16), input(T, 2, 8, 4, 32)];
  const [tables, lse] = [`${input(FLOAT, 8, 32)} ${input(FLOAT, 8, 32)}`, input(FLOAT, 2, 4, 8)];
  const [X, Q, K, QKV] = [[6, 16], [2, 8, 4, 32], [2, 8, 2, 32], [2, 8, 8, 32]]; // biome-ignore format: shapes
  const [logits, stats] = [`${input(T, 6, 50)} ${input(INT32, 6)}`, input(FLOAT, 12, 3)];
  const [whole, wholeLse, WHOLE] = [input(FLOAT, 2, 12, 4, 32), input(FLOAT, 2, 4, 12), [2, 12, 4, 32]];
  const attention = `${attrs} bool causal 1 float scale 0.2`;
  const gradient = `${attention} bool deterministic 1`;
  const both = [[6, 16], [16]]; // biome-ignore format: shapes
  const floats = (dtype: number) => list(dtype, ...both);
  const host = [input(INT32, 9), input(INT32, 2), input(INT32, 2)].join(' ');
  const moments = `${floats(T)} list 0 ${floats(BFLOAT16)} ${floats(BFLOAT16)} ${floats(T)} ${input(FLOAT)}`;
  const product = `${type('U', FLOAT)} bool transpose_a 1 bool transpose_b 0`;
  return [
    [`FourfoldRmsNorm ${x} ${norm} ${attrs} float epsilon 1e-5`, [X, [6]]],
    [`FourfoldRmsNormGrad ${x} ${x} ${norm} ${input(FLOAT, 6)} ${list(T, X)} ${attrs} int M 1`, [X, [16]]],
    [`FourfoldRope ${q} ${tables} ${attrs} int turned 3 bool inverse 0 bool in_place 0`, [Q]],
    [`FourfoldSwiglu ${x} ${attrs}`, [[6, 8]]],
    [`FourfoldSwigluGrad ${input(T, 6, 8)} ${x} ${attrs}`, [X]],
    [`FourfoldAttention ${list(T, Q, K, K)} ${attention} int N 3 int kv_heads 0`, [Q, [2, 4, 8]]],
    [`FourfoldAttention ${list(T, QKV)} ${attention} int N 1 int kv_heads 2`, [Q, [2, 4, 8]]],
    [`FourfoldAttentionGrad ${q} ${list(T, Q, K, K)} ${q} ${lse} ${gradient} int N 3 int kv_heads 0`, [Q, K, K]],
    [`FourfoldAttentionGrad ${q} ${list(T, QKV)} ${q} ${lse} ${gradient} int N 1 int kv_heads 2`, [QKV]],
    [`FourfoldTogether ${list(T, ...both)} ${attrs} int N 2`, both],
    [`FourfoldStack ${list(T, X, [3, 16])} ${attrs} int N 2`, [[9, 16]]],
    [`FourfoldParts ${x} ${input(INT32, 1)} ${attrs} int N 1`, [[-1, 16]]],
    [`FourfoldCrossEntropy ${logits} ${attrs} bool gradients 1 float weight 1`, [[6], [6, 50]]],
    [`FourfoldCrossEntropy ${logits} ${attrs} bool gradients 0 float weight 1`, [[6], [0]]],
    [`FourfoldLogitStatistics ${logits} ${attrs} int first 50`, [[6, 3]]],
    [`FourfoldLogitGradient ${logits} ${stats} ${attrs} int first 50 bool gradients 1 float weight 1`, [[6], [6, 50]]],
    [`FourfoldLogitGradient ${logits} ${stats} ${attrs} int first 0 bool gradients 0 float weight 1`, [[6], [0]]],
    [`FourfoldEmbedding ${input(T, 50, 16)} ${input(INT32, 6)} ${attrs} int first 50 int words 100`, [X]],
    [`FourfoldEmbeddingGrad ${x} ${input(INT32, 6)} ${input(T, 50, 16)} ${grads} int first 50`, [[50, 16]]],
    [`FourfoldMergeAttention ${whole} ${wholeLse} ${q} ${lse} ${attrs} int start 3`, [WHOLE, [2, 4, 12]]],
    [`FourfoldAddAt ${whole} ${q} ${attrs} int start 3`, [WHOLE]],
    [`FourfoldAdamW ${moments} ${host} ${grads} ${type('M', BFLOAT16)} int N 2 int K 0`, []],
    [`FourfoldSquaredNorm ${floats(T)} ${input(INT32, 2)} ${type('G', T)} int N 2`, [[]]],
    [`FourfoldProduct ${x} ${input(T, 6, 20)} list 0 ${attrs} ${product} bool in_place 0 int M 0`, [[16, 20]], ['GPU']],
    [`FourfoldCopyOut ${input(FLOAT, 3)}`, [], ['GPU']],
    [`FourfoldCopyInto ${x} ${attrs}`, [], ['GPU']],
    [`FourfoldUpload ${input(INT32, 5, 3)}`, [[5, 3]], ['GPU']],
  ]; // biome-ignore format: a table
}

test.each([
  ['float32', FLOAT],
  ['bfloat16', BFLOAT16],
])(
  // biome-ignore format: a pair each
  'every op is known with its shapes in %s, and has a kernel for GPUs',
  async (_, T) => {
    const expected = expectations(T);
    const answers = await ask(expected.map(([question]) => question));
    for (const [i, [question, outputs, kernels = ['CPU', 'GPU']]] of expected.entries()) {
      const { outputs: found, kernels: devices = [], error } = answers[i] ?? {};
      expect({ question, error, outputs: found }).toEqual({ question, error: undefined, outputs });
      expect([question, [...new Set(devices)].sort()]).toEqual([question, kernels]);
    }
  },
);

test('every op of inference is known, and has a kernel for GPUs', async () => {
  const expected = inferenceExpectations();
  const answers = await ask(expected.map(([question]) => question));
  for (const [i, [question, outputs]] of expected.entries()) {
    const { kernels = [], ...answer } = answers[i] ?? {};
    expect([question, answer]).toEqual([question, { outputs }]);
    expect([question, [...new Set(kernels)].sort()]).toEqual([question, ['CPU', 'GPU']]);
  }
});

// ## What NVIDIA's compiler says of each kernel

/** { T: 'float', D: 64 } as lines of C++: a number's name, or a type's. */
const lines = (given: Given): string[] =>
  Object.entries(given).map(([name, value]) =>
    typeof value === 'string' ? `using ${name} = ${value};` : `constexpr int ${name} = ${value};`,
  );

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));

/** WidthFor in op.h: as many elements as 16 bytes hold, or as divide the length. */
const widthFor = (T: string, length: number): number => commonDivisor(length, T === 'float' ? 4 : 8);

/** Columns in op.h: what a block has whose threads stand for the elements of a row. */
function columnsOf(T: string, length: number, most = 512): Given {
  const WIDTH = widthFor(T, length);
  const packs = length / WIDTH;
  const THREADS = Math.min(most, Math.ceil(packs / 32) * 32);
  return { T, WIDTH, THREADS, EACH: Math.ceil(packs / THREADS) };
}

/** What the host gives each file (native/cuda: *.h and flash.cc) at the sizes of two models, the second one odd. */
function given(T: string): Record<string, Given[]> {
  const sizes = [
    { D: 2048, V: 49_152, K: 64, H: 32, G: 8 },
    { D: 999, V: 1003, K: 18, H: 3, G: 3 },
  ];
  const whole = T === 'float' ? 4 : 8;
  const rows = sizes.map(({ D }) => ({ ...columnsOf(T, D), D }));
  const heads = sizes.flatMap(({ K, H, G }) => [
    { T, K, H, G, Q_ROW: H, KV_ROW: G },
    { T, K, H, G, Q_ROW: H + 2 * G, KV_ROW: H + 2 * G },
  ]);
  const causal = heads.flatMap((sides) => [0, 1].map((CAUSAL) => ({ ...sides, CAUSAL })));
  const optimizers = ['float', 'bfloat16'].flatMap((M) =>
    [0, 1].flatMap((MASTERS) => ['float', 'bfloat16'].map((G) => ({ T, M, G, MASTERS }))),
  );
  return {
    'add-at.cu': [1, whole].map((WIDTH) => ({ T, WIDTH })),
    'adamw.cu': optimizers.flatMap((optimizer) => [1, whole].map((WIDTH) => ({ ...optimizer, WIDTH }))),
    'cross-entropy.cu': sizes.map(({ V }) => ({ ...columnsOf(T, V, 1024), V })),
    'embedding.cu': ['float', 'bfloat16'].flatMap((G) => rows.map((row) => ({ ...row, G }))),
    'flash-attention.cu': causal,
    'flash-attention-grad.cu': causal,
    'merge-attention.cu': sizes.map(({ K, H }) => ({ T, K, H, WIDTH: widthFor(T, K) })),
    'rms-norm.cu': sizes.map(({ D }) => ({ T, D, WIDTH: widthFor(T, D) })),
    'rms-norm-grad.cu': rows,
    'rope.cu': sizes.flatMap(({ K, H, G }) =>
      [H + 2 * G, H + G].map((HEADS) => ({ T, K, J: H + 2 * G, HEADS, TURNED: H + G, WIDTH: widthFor(T, K / 2) })),
    ),
    'squared-norm.cu': [1, whole].map((WIDTH) => ({ G: T, WIDTH })),
    'swiglu.cu': [1, whole].map((WIDTH) => ({ T, F: 3 * whole, WIDTH })),
  };
}

type Task = [file: string, given: string[], arch: string];

/** Compiles with the module, in a process of its own; each task's bytes, or what was wrong with it. */
function compiled(tasks: readonly Task[]): Promise<(number | string)[]> {
  const { addon, libraries, ops, cuda } = installed;
  const script = `
    const [{ addon, libraries, ops, cuda, sources, tasks }] = process.argv.slice(1).map((text) => JSON.parse(text));
    require(addon).loadLibraries(libraries, 3);
    require(ops);
    const native = require(cuda);
    native.configure(sources, '/nowhere');
    const results = tasks.map((task) => {
      try { return native.compile(...task); } catch (error) { return error.message; }
    });
    console.log(JSON.stringify({ dtypes: native.dtypes(), results }));`;
  const options = JSON.stringify({ addon, libraries, ops, cuda, sources: cudaSources, tasks });
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['-e', script, options], (error, output) => {
      if (error) return reject(error);
      const { dtypes, results } = JSON.parse(output) as { dtypes: string[]; results: (number | string)[] };
      expect(dtypes).toEqual(['float32', 'bfloat16']);
      return resolve(results);
    });
  });
}

test('all kernels are compiled here', () => {
  const files = readdirSync(cudaSources).filter((file) => file.endsWith('.cu'));
  expect(Object.keys({ ...given('float'), ...givenOfInference() }).sort()).toEqual(files.sort());
});

test.each(['sm_80', 'sm_90'])('every kernel compiles for %s, in both dtypes', async (arch) => {
  const tasks = [given('float'), given('bfloat16'), givenOfInference()].flatMap((files) =>
    Object.entries(files).flatMap(([file, all]) => all.map((one): Task => [file, lines(one), arch])),
  );
  const results = await compiled(tasks);
  for (const [i, result] of results.entries()) expect([tasks[i], result]).toEqual([tasks[i], expect.any(Number)]);
});

test('a kernel that does not compile is told with its file and line', async () => {
  const [missing, wrong] = await compiled([
    ['no-such.cu', [], 'sm_90'],
    ['swiglu.cu', lines({ T: 'text', F: 8, WIDTH: 4 }), 'sm_90'],
  ]);
  expect(missing).toMatch(/no-such\.cu can't be read/);
  expect(wrong).toMatch(/^swiglu\.cu does not compile: swiglu\.cu\(\d+\): error/);
});
