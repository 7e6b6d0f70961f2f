/**
 * How much memory training takes, computed before any is allocated.
 *
 * For each parameter: the weight that AdamW updates, its two moments and the gradient, float32, 16 bytes; and the value
 * that the layers read (in float32 a copy in the first step alone). For each block what its layers keep for backward,
 * in elements a token:
 *
 *     attention   2 D: normalized, scaled    (H + 2 G) K: q, k, v    2 H K: o, merged o    H T: probabilities
 *     SwiGLU      2 D: normalized, scaled    5 F: gate, up, sigmoid, silu, their product
 *
 * A step's peak lies at one of three places, and the largest counts: in the last block's attention (four
 * matrices as large as its scores), in the backward of the last block's SwiGLU, or at the head among the logits. With
 * recomputation every block keeps its input alone, D, and one block at a time has the rest.
 *
 * With the CPU's fused kernels (float32) attention has no scores in memory at all: for each query and head one number
 * is kept, from which backward computes its probabilities again, a tile at a time. And SwiGLU keeps gate and up alone.
 *
 * Probabilities over 64 MiB a block are not kept, and scores and logits over 64 MiB go in equal parts below it: so a
 * longer sequence can take less than a shorter one.
 */

export interface TrainingSize {
  readonly parameters: number;
  readonly layers: number;
  readonly dim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly ffn: number;
  readonly vocabulary: number;
  /** Sequences that one pass takes. */
  readonly batch: number;
  readonly seqLength: number;
  readonly precision: 'float32' | 'bfloat16';
  readonly recompute: boolean;
  /** Whether the CPU's fused kernels will run, those of float32 on TensorFlow (default false). */
  readonly fused?: boolean;
}

const CHUNK = 64 * 2 ** 20; // the most bytes of scores, or of logits, that our layers make at a time
const STREAM = 4; // vectors of D a token beside all else: the residual stream, its gradient, and what is added to each

/** Bytes of tensors at the peak of a step, as `memory().peakBytes` counts them. */
export function trainingBytes(size: TrainingSize): number {
  const { parameters, layers, dim, batch, seqLength, recompute } = size;
  const perParameter = 16 + elementBytes(size);
  const vector = batch * seqLength * dim * elementBytes(size);
  const { attention, probabilities, mlp } = keptBytes(size);
  const block = attention + probabilities + mlp;
  const blocksBefore = recompute ? layers * vector : (layers - 1) * block;
  const peak = Math.max(
    blocksBefore + attention + attentionBytes(size), // its probabilities are among the four
    blocksBefore + block + swigluBytes(size),
    blocksBefore + (recompute ? 0 : block) + headBytes(size),
  );
  return parameters * perParameter + peak + STREAM * vector;
}

const elementBytes = ({ precision }: TrainingSize): number => (precision === 'float32' ? 4 : 2);

/** Bytes of all scores of a block, float32: one for each head and each pair of tokens. */
const scoreBytes = ({ batch, heads, seqLength }: TrainingSize): number => 4 * batch * heads * seqLength * seqLength;

/** The bytes of one of the equal parts in which so many are made. */
const partOf = (bytes: number): number => bytes / Math.ceil(bytes / CHUNK);

/** What one block keeps. The normalized vectors and their lengths are float32 whatever the precision. */
function keptBytes(size: TrainingSize): { attention: number; probabilities: number; mlp: number } {
  const { dim, heads, kvHeads, headDim, ffn, batch, seqLength, fused } = size;
  const element = elementBytes(size);
  const tokens = batch * seqLength;
  const norm = 4 * dim + 4 + element * dim;
  const scores = scoreBytes(size);
  return {
    attention: tokens * (norm + element * (3 * heads + 2 * kvHeads) * headDim),
    probabilities: fused ? 4 * tokens * heads : scores <= CHUNK ? (scores * element) / 4 : 0,
    mlp: tokens * (norm + element * (fused ? 3 : 5) * ffn),
  };
}

// ## What is there for a moment

/**
 * In backward the probabilities, their gradient, and two steps to that of the scores; in bfloat16 these take half, and
 * forward as much as they do in float32, where the softmax is computed. The mask, as large as one head's scores. And
 * eight vectors as q: o, its gradient, products of these, dq, dk and dv.
 */
function attentionBytes(size: TrainingSize): number {
  const { batch, heads, seqLength, headDim } = size;
  const matrices = 4 + 1 / (batch * heads);
  const queries = batch * seqLength * heads * headDim * elementBytes(size);
  return (size.fused ? 0 : matrices * partOf(scoreBytes(size))) + 8 * queries;
}

/** SwiGLU's backward: the gradient that arrives, five steps to the gate's (fused: none), that one, and that of `up`. */
const swigluBytes = (size: TrainingSize): number =>
  (size.fused ? 3 : 7) * size.batch * size.seqLength * size.ffn * elementBytes(size);

/**
 * A chunk of logits and its log-probabilities beside the weight's gradient so far; or, once the logits have become
 * their own gradient, that with the chunk's gradient of the weight and the new sum. In bfloat16 both kinds exist.
 */
function headBytes(size: TrainingSize): number {
  const { vocabulary, dim, batch, seqLength } = size;
  const chunk = partOf(4 * batch * seqLength * vocabulary);
  const logits = size.precision === 'float32' ? chunk : 1.5 * chunk;
  const gradient = 4 * vocabulary * dim;
  return Math.max(chunk + logits + gradient, logits + 3 * gradient);
}
