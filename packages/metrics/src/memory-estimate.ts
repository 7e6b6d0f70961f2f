/**
 * How much memory training takes, computed before any is allocated.
 *
 * For each parameter: the weight, its gradient and AdamW's two moments; and a float32 master of a bfloat16 weight, if
 * there are masters. 16 bytes in float32, 18 in bfloat16, 8 with bfloat16 gradients and moments and no masters. For
 * each block what its layers keep for backward, in elements a token:
 *
 *     attention   2 D: normalized, scaled    (H + 2 G) K: q, k, v    H K: o    H: the lengths of its softmaxes
 *     SwiGLU      2 D: normalized, scaled    5 F: gate, up, sigmoid, silu, their product
 *
 * A step's peak lies at one of four places, and the largest counts: in the last block's attention (several
 * matrices as large as its scores), in the backward of the last block's SwiGLU, where the gradient of its largest
 * weights is added up, or at the head among the logits. With recomputation every block keeps less, its input alone (D),
 * or all but what its norms and SwiGLU give, and one block at a time has the rest.
 *
 * The fused kernels (of a GPU, and of the CPU in float32) have no scores in memory at all: attention computes them
 * again, a tile at a time. A norm keeps what came into it, and SwiGLU gate, up and their product. Without them scores
 * over 64 MiB go in equal parts below it, as logits do everywhere but on a GPU, whose parts are larger
 * (LOSS_CHUNK_BYTES): a GPU's memory is plan's to tell.
 */

/** What the estimate asks of a training run. */
export interface TrainingSize {
  /** N, all parameters. */
  readonly parameters: number;
  /** L, how many blocks. */
  readonly layers: number;
  /** D, the width of the residual stream. */
  readonly dim: number;
  /** H, query heads. */
  readonly heads: number;
  /** G, key and value heads. */
  readonly kvHeads: number;
  /** K, dimensions of a head. */
  readonly headDim: number;
  /** F, the width of the feed-forward. */
  readonly ffn: number;
  /** V, how many tokens the model knows. */
  readonly vocabulary: number;
  /** Sequences that one pass takes. */
  readonly batch: number;
  /** T, the tokens of a sequence. */
  readonly seqLength: number;
  /** Of weights and activations. */
  readonly precision: 'float32' | 'bfloat16';
  /** Of the gradients (default float32). */
  readonly gradients?: 'float32' | 'bfloat16';
  /** Of AdamW's moments (default float32). */
  readonly moments?: 'float32' | 'bfloat16';
  /** Whether bfloat16 weights have float32 masters (default true). */
  readonly masterWeights?: boolean;
  /** What of a block backward computes again instead of keeping it. */
  readonly recompute: 'none' | 'selective' | 'block';
  /** Whether fused kernels will run, a GPU's or those of float32 on TensorFlow (default false). */
  readonly fused?: boolean;
}

const CHUNK = 64 * 2 ** 20; // the most bytes of scores, or of logits, that our layers make at a time
const BYTES = { float32: 4, bfloat16: 2 };
const STREAM = 4; // vectors of D a token beside all else: the residual stream, its gradient, and what is added to each

/** Bytes of tensors at the peak of a step without a GPU, as `memory().peakBytes` counts them. */
export function trainingBytes(size: TrainingSize): number {
  const { parameters, layers, dim, batch, seqLength, recompute } = size;
  const vector = batch * seqLength * dim * elementBytes(size);
  const { attention, mlp } = keptBytes({ ...size, recompute: 'none' });
  const block = attention + mlp;
  const kept = keptOfBlock(size);
  const blocksBefore = recompute === 'block' ? layers * kept : (layers - 1) * kept;
  const peak = Math.max(
    blocksBefore + attention + attentionBytes(size),
    blocksBefore + block + swigluBytes(size),
    blocksBefore + block + gradientBytes(size),
    blocksBefore + (recompute === 'block' ? 0 : kept) + headBytes(size),
  );
  return parameters * stateBytes(size) + peak + STREAM * vector;
}

/** Bytes of a parameter, whatever is being computed. */
function stateBytes(size: TrainingSize): number {
  const { precision, moments = 'float32', masterWeights = true } = size;
  const master = precision === 'bfloat16' && masterWeights ? 4 : 0;
  return BYTES[precision] + master + 2 * BYTES[moments] + gradientElementBytes(size);
}

const gradientElementBytes = ({ gradients = 'float32' }: TrainingSize): number => BYTES[gradients];

const elementBytes = ({ precision }: TrainingSize): number => BYTES[precision];

/** Bytes of all scores of a block, float32: one for each head and each pair of tokens. */
const scoreBytes = ({ batch, heads, seqLength }: TrainingSize): number => 4 * batch * heads * seqLength * seqLength;

/** The bytes of one of the equal parts in which so many are made. */
const partOf = (bytes: number): number => bytes / Math.ceil(bytes / CHUNK);

/** What is asked of a block: `tokenRanks` share the tokens that its norms see (default 1). */
export type BlockSize = Omit<TrainingSize, 'parameters' | 'layers' | 'vocabulary'> & { readonly tokenRanks?: number };

/**
 * Bytes that one block keeps for backward, unless it is run again as a whole. Without fused kernels the normalized
 * vectors and their lengths are float32 whatever the precision.
 */
export function keptBytes(size: BlockSize): { attention: number; mlp: number } {
  const { dim, heads, kvHeads, headDim, ffn, batch, seqLength, precision, fused, recompute, tokenRanks = 1 } = size;
  const element = BYTES[precision];
  const tokens = batch * seqLength;
  const selective = recompute === 'selective';
  const normalized = element * dim; // selective: what came in, which nobody else keeps without fused kernels
  const norm = selective ? normalized : normalized + (fused ? element : 4) * dim + 4;
  return {
    attention: (tokens / tokenRanks) * norm + tokens * (element * 2 * (heads + kvHeads) * headDim + 4 * heads),
    mlp: (tokens / tokenRanks) * norm + tokens * element * ffn * (selective ? 2 : fused ? 3 : 5),
  };
}

/** Bytes that one block keeps, for any way to recompute. */
export function keptOfBlock(size: BlockSize): number {
  const { batch, seqLength, dim, precision, recompute, tokenRanks = 1 } = size;
  if (recompute === 'block') return (batch * seqLength * dim * BYTES[precision]) / tokenRanks;
  const { attention, mlp } = keptBytes(size);
  return attention + mlp;
}

// ## What is there for a moment

/**
 * In backward the scores, these with the mask, their distance to the lengths and its exponential; in bfloat16 a half
 * more of each product, before it is widened. The mask, as large as one head's scores. And vectors as q: q, dO and
 * their copies with heads first, dq, dk and dv; without fused kernels o and dO once more, in float32, and o · dO.
 */
function attentionBytes(size: TrainingSize): number {
  const { batch, heads, seqLength, headDim, fused, precision } = size;
  const matrices = (precision === 'float32' ? 4 : 5) + 1 / (batch * heads);
  const query = batch * seqLength * heads * headDim;
  return fused ? 8 * 4 * query : matrices * partOf(scoreBytes(size)) + (8 * elementBytes(size) + 3 * 4) * query;
}

/** SwiGLU's backward: the gradient that arrives, five steps to the gate's (fused: none), that one, and that of `up`. */
const swigluBytes = (size: TrainingSize): number =>
  (size.fused ? 3 : 7) * size.batch * size.seqLength * size.ffn * elementBytes(size);

/** A micro-batch's gradient of q, k and v or of gate and up, one product each, and its sum with those before. */
function gradientBytes(size: TrainingSize): number {
  const { dim, ffn, heads, kvHeads, headDim } = size;
  const rows = Math.max(2 * ffn, (heads + 2 * kvHeads) * headDim);
  return 2 * gradientElementBytes(size) * rows * dim;
}

/**
 * A chunk of logits and its log-probabilities (fused: none) beside the weight's gradient so far; or, once the logits
 * have become their own gradient, that with the chunk's gradient of the weight; or these two gradients and their sum.
 * In bfloat16 both kinds of logits exist.
 */
function headBytes(size: TrainingSize): number {
  const { vocabulary, dim, batch, seqLength, fused } = size;
  const all = 4 * batch * seqLength * vocabulary;
  const chunk = partOf(all);
  const logits = size.precision === 'float32' ? chunk : 1.5 * chunk;
  const gradient = (chunk < all ? 4 : gradientElementBytes(size)) * vocabulary * dim; // chunks' gradients are added up
  return Math.max((fused ? 0 : chunk) + logits + gradient, logits + 2 * gradient, 3 * gradient);
}
