/** Text from a model, token by token; and a model's weights, wherever they lie, on one rank or on several. */
export type { Decoder, Logits, Row, StepCost } from './decoder.ts';
export { Engine, type EngineOptions, QueueFull, type StepReport, type TokenRequest } from './engine/engine.ts';
export { type ChosenOptions, chooseOptions, inBlocks, loadRank, type ModelOptions } from './load.ts';
export { mergeLogits } from './merge.ts';
export { openModel } from './open.ts';
export { follow, lead, openDecoder } from './open-decoder.ts';
export { openModelForText, type TextModel } from './open-text.ts';
export { type ModelFlags, modelFlags } from './options.ts';
export { type ComputeOptions, RankModel } from './rank-model.ts';
export { ALONE, type Ranks, ranksOf } from './ranks.ts';
export { nextTokenLogits, pickToken, type SampleOptions, sample } from './sample.ts';
export { type Chosen, choose, greedy, type Sampling, type Scored, wantedFor } from './sampler.ts';
export { GROK_1, type ModelShape, tensorShapes } from './shape.ts';
export { bytesOfShare, checkRanks, EMBEDDING, evenPart, partOf, type Share, shareOf } from './slices.ts';
export { BLOCKS, bytesOf, type Part, type StoredModel, type StoredTensor } from './stored.ts';
export { Detokenizer } from './text/detokenizer.ts';
export { Stops } from './text/stops.ts';
export { type ChatTemplate, chatTemplateFrom, type Message } from './text/template.ts';
export { openVocabulary, type Vocabulary } from './text/vocabulary.ts';
export { type Finish, type Piece, type TextRequest, write, writeAll } from './text/writer.ts';
export { loadShare, type RankWeights } from './weights.ts';
export { partsOfWords, partWords, rowsOfWords, type Wanted, wantedOf, wordsOfParts, wordsOfRows } from './wire.ts';

/** The commands, each loaded when it is called. */
export const commands = {
  generate: () => import('./commands/generate.ts'),
  chat: () => import('./commands/chat.ts'),
  serve: () => import('./commands/serve.ts'),
  perplexity: () => import('./commands/perplexity.ts'),
  worker: () => import('./commands/worker.ts'),
  bench: () => import('./commands/bench.ts'),
};
