/** Every operation of a Llama next to its backward, and what layers are made of. */
export { add, sum } from './add-sum.ts';
export { type AttentionOptions, causalAttention, headsOf } from './attention.ts';
export {
  type AttentionBlockOptions,
  type AttentionSaved,
  attentionBlock,
  attentionBlockGradients,
} from './attention-block.ts';
export {
  type CrossEntropyOptions,
  crossEntropy,
  LOSS_CHUNK_BYTES,
  type Loss,
  type LossOptions,
  lossChunks,
  type SoftmaxLoss,
  type TokenLosses,
} from './cross-entropy.ts';
export { type Embedding, embedding, type Words, wordsOf } from './embedding.ts';
export { flatten, rangesIn, rangesOf, sizeOf, unflatten } from './flat.ts';
export { mergeHeads, splitHeads } from './heads.ts';
export * as kernels from './kernels.ts';
export {
  chain,
  type Layer,
  type Pullback,
  type PullbackOnto,
  pullback,
  pullbackOnto,
  pullbackThrough,
  recomputed,
  residual,
} from './layer.ts';
export { accumulateProduct, linear, stacked } from './linear.ts';
export { type Attention, addAt, mergeAttention } from './merge.ts';
export { Parameter, partOf, type Range, type Shard } from './parameter.ts';
export { type BestLogits, bestLogits } from './quantized/best-logits.ts';
export {
  type Cache,
  type CachedAttentionOptions,
  type CacheFormat,
  type CacheShape,
  cachedAttention,
  copyCache,
  createCache,
} from './quantized/cached-attention.ts';
export {
  type AttentionWeights,
  attentionHalf,
  type FeedForwardWeights,
  feedForward,
  type HalfOptions,
} from './quantized/decoder-layer.ts';
export {
  areAlike,
  type DecoderLayer,
  type DecoderLayersOptions,
  decoderLayers,
} from './quantized/decoder-layers.ts';
export { type ExpertsOptions, type ExpertWeights, expertsProduct } from './quantized/experts.ts';
export { BLOCK, BLOCK_BYTES, dequantize, quantize, rowBytes, type WeightFormat } from './quantized/formats.ts';
export { type Packed, packedRows, packWeight } from './quantized/packed.ts';
export {
  type Activations,
  type NormOptions,
  type PackedProductOptions,
  packedProduct,
  type Variant,
} from './quantized/packed-product.ts';
export { rmsNorm } from './rms-norm.ts';
export { type Llama3Scaling, type RopeTables, rope, ropeFrequencies, ropeTables, ropeTablesFor } from './rope.ts';
export { logitGradient, logitStatistics, type SplitLossOptions } from './split-softmax.ts';
export { swiglu } from './swiglu.ts';
