/**
 * How much memory training takes, computed before any is allocated.
 *
 * Per parameter: its value, a float32 gradient, and AdamW's two float32 moments (and, beside bfloat16 values, the
 * float32 weight that AdamW updates). Per token and block, what our layers keep for backward, counted in elements:
 *
 *     norms              2 D normalized + 2 D scaled       attention   q, o, merged o, k and v, and the
 *     SwiGLU             5 F: gate, up, sigmoid, silu, y               probabilities, H x T, up to 64 MiB a block
 *
 * With recomputation a block keeps its input, D, and only one block's worth of the rest is alive at a time. The head
 * adds a few chunks of logits, 64 MiB each, and the gradient of its weight once more.
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
}

const CHUNK = 64 * 2 ** 20; // bytes of logits, or of probabilities, that our layers hold at a time

/** Bytes of tensors at the peak of a step. */
export function trainingBytes(size: TrainingSize): number {
  const { parameters, layers, dim, batch, seqLength, precision, recompute, vocabulary } = size;
  const element = precision === 'float32' ? 4 : 2;
  const perParameter = precision === 'float32' ? 4 + 4 + 8 : 2 + 4 + 8 + 4;
  const tokens = batch * seqLength;
  const block = blockBytes(size, element);
  const blocks = recompute ? layers * tokens * dim * element + block : layers * block;
  const logits = 3 * Math.min(4 * tokens * vocabulary, CHUNK) + 4 * dim * vocabulary;
  return parameters * perParameter + blocks + logits;
}

/** What one block keeps for backward. The normalized vectors are float32 whatever the precision. */
function blockBytes({ dim, heads, kvHeads, headDim, ffn, batch, seqLength }: TrainingSize, element: number): number {
  const normalized = 2 * dim * 4;
  const others = (2 * dim + (3 * heads + 2 * kvHeads) * headDim + 5 * ffn) * element;
  const probabilities = Math.min(batch * heads * seqLength * seqLength * 4, CHUNK);
  return batch * seqLength * (normalized + others) + probabilities;
}
