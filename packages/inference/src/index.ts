/** Text from a model, token by token. */
export type { Decoder, Logits, Row, StepCost } from './decoder.ts';
export { Engine, type EngineOptions, QueueFull, type StepReport, type TokenRequest } from './engine/engine.ts';
export { openModelForText, type TextModel } from './open-text.ts';
export { type ModelOptions, modelOptions } from './options.ts';
export { nextTokenLogits, pickToken, type SampleOptions, sample } from './sample.ts';
export { type Chosen, choose, greedy, type Sampling, type Scored, wantedFor } from './sampler.ts';
export { Detokenizer } from './text/detokenizer.ts';
export { Stops } from './text/stops.ts';
export { type ChatTemplate, chatTemplateFrom, type Message } from './text/template.ts';
export { openVocabulary, type Vocabulary } from './text/vocabulary.ts';
export { type Finish, type Piece, type TextRequest, write, writeAll } from './text/writer.ts';
export { wholeForward } from './whole-forward.ts';

/** The commands, each loaded when it is called. */
export const commands = {
  generate: () => import('./commands/generate.ts'),
  chat: () => import('./commands/chat.ts'),
  serve: () => import('./commands/serve.ts'),
  perplexity: () => import('./commands/perplexity.ts'),
};
