/**
 * What cuda.proof.ts asks about inference's ops on GPUs, and how questions are put: cuda-ops.cc has the language. Their
 * kernels are float32's, and a matrix's format is a number (native/shapes/packed-shape.h).
 */

export const [FLOAT, INT32, BFLOAT16] = [1, 3, 14]; // TensorFlow's numbers

type Side = number | string;
export const input = (dtype: number, ...sides: Side[]): string => `in ${dtype} ${sides.length} ${sides.join(' ')}`;
export const list = (dtype: number, ...inputs: Side[][]): string =>
  `list ${inputs.length} ${inputs.map((sides) => `${dtype} ${sides.length} ${sides.join(' ')}`).join(' ')}`;
export const type = (name: string, dtype: number): string => `type ${name} ${dtype}`;

const ints = (name: string, ...numbers: number[]): string => `ints ${name} ${numbers.length} ${numbers.join(' ')}`;

/**
 * The ops of inference, which take float32 alone and whose shapes follow from bytes: TensorFlow is told none. Q80
 * matrices (format 4) of 2 layers' halves, 4 experts.
 */
export function inferenceExpectations(): [question: string, outputs: null[]][] {
  const [x, gain, w, rows] = [input(FLOAT, 6, 32), list(FLOAT, [32]), input(FLOAT, 500), input(INT32, 6, 2)];
  const cache = `${input(FLOAT, 500)} ${rows} ${input(FLOAT, 8, 32)} ${input(FLOAT, 8, 32)}`;
  const numbers = 'float scale 0.2 float softcap 0 float epsilon 0';
  const attention = `${ints('attention', 0, 1, 8, 1, 1, 0, 1, 0)} ${numbers}`;
  const half = `${gain} int M 1 ${ints('shapes', 4, 96, 32, 4, 32, 32)} ${ints('how', 0, 0, 1)} float norm_epsilon 0`;
  const experts = `${ints('shapes', 4, 64, 32, 4, 32, 32)} ${ints('how', 0, 4, 2, 1, 0, 0, 1, 0)} float epsilon 0`;
  const product = `${ints('shape', 4, 32, 32)} ${ints('how', 1, 0, 1, 0)} float epsilon 0`;
  return [
    [`FourfoldPackedProduct ${x} ${w} ${gain} int M 1 ${product}`, [null]],
    [`FourfoldPackedRows ${w} ${input(INT32, 6)} ${ints('shape', 4, 32, 32)}`, [null]],
    [`FourfoldCachedAttention ${input(FLOAT, 6, 96)} ${cache} list 0 int M 0 ${attention}`, [null]],
    [`FourfoldCopyCache ${w} ${input(INT32, 3)} ${ints('cache_shape', 1, 8, 2, 128)}`, []],
    [`FourfoldAttentionHalf ${x} ${w} ${w} ${cache} ${half} ${attention}`, [null]],
    [`FourfoldFeedForward ${x} ${w} ${w} ${half}`, [null]],
    [`FourfoldExperts ${x} ${input(FLOAT, 6, 4)} ${w} ${w} list 0 int M 0 ${experts}`, [null]],
    [`FourfoldBestLogits ${input(FLOAT, 6, 50)} int k 5`, [null, null, null]],
  ]; // biome-ignore format: a table
}

/** What a kernel is compiled for: numbers, and types by their names. */
export type Given = Record<string, number | string>;

/** The same of inference's kernels (native/cuda/packed.h and decoder-layer.h), which are float32's: every format. */
export function givenOfInference(): Record<string, Given[]> {
  const formats = [0, 1, 2, 3, 4];
  const products = formats.flatMap((FORMAT) => (FORMAT < 2 ? [0] : [0, 1]).map((ROUNDED) => ({ FORMAT, ROUNDED })));
  const kinds = [0, 1, 2, 3].flatMap((KIND) => [0, 1].map((ROUNDED) => ({ KIND, ROUNDED })));
  const heads = [
    { K: 64, H: 32, G: 8, NORMED: 0, CAPPED: 0 },
    { K: 128, H: 3, G: 1, NORMED: 1, CAPPED: 1 },
  ];
  return {
    'best-logits.cu': [{}],
    'cached-attention.cu': [
      ...[0, 1, 4].flatMap((FORMAT) => heads.map((sides) => ({ FORMAT, ...sides }))),
      { FORMAT: 1, K: 18, H: 3, G: 3, NORMED: 1, CAPPED: 0 },
    ],
    'copy-cache.cu': [2, 4, 16].map((UNIT) => ({ UNIT })),
    'experts.cu': [
      { E: 8, ACTIVE: 2, FIRST: 0, COUNT: 8 },
      { E: 128, ACTIVE: 8, FIRST: 32, COUNT: 32 },
    ],
    'packed-product.cu': products.flatMap((product) => [
      ...[1, 2, 4, 8].map((ROWS) => ({ ...product, ROWS, THREADS: 128, ROUTED: 0 })),
      { ...product, ROWS: 8, THREADS: 256, ROUTED: 1 },
    ]),
    'packed-rows.cu': formats.map((FORMAT) => ({ FORMAT })),
    'prepare-rows.cu': kinds,
  };
}
