/** Text from a model, token by token; and a model's weights, wherever they lie, on one rank or on several. */
export type { Decoder, Logits, Row, StepCost } from './decoder.ts';
export { type ChosenOptions, chooseOptions, inBlocks, loadRank, type ModelOptions } from './load.ts';
export { mergeLogits } from './merge.ts';
export { openModel } from './open.ts';
export { follow, lead, openDecoder } from './open-decoder.ts';
export { type ComputeOptions, RankModel } from './rank-model.ts';
export { ALONE, type Ranks, ranksOf } from './ranks.ts';
export { nextTokenLogits, pickToken, type SampleOptions, sample } from './sample.ts';
export { GROK_1, type ModelShape, tensorShapes } from './shape.ts';
export { bytesOfShare, checkRanks, EMBEDDING, evenPart, partOf, type Share, shareOf } from './slices.ts';
export { BLOCKS, bytesOf, type Part, type StoredModel, type StoredTensor } from './stored.ts';
export { loadShare, type RankWeights } from './weights.ts';
export { partsOfWords, partWords, rowsOfWords, type Wanted, wantedOf, wordsOfParts, wordsOfRows } from './wire.ts';
