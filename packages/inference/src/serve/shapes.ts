/**
 * Answers in OpenAI's shapes: whole ones, and the chunks of streamed ones.
 *
 *     chat          {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "..."}}]}
 *       streamed    {"object": "chat.completion.chunk", "choices": [{"delta": {"content": "..."}}]}
 *     completion    {"object": "text_completion", "choices": [{"text": "..."}]}           streamed alike
 *
 * The two differ in their choices alone, and each of those in how it tells log-probabilities.
 */
import type { Tokenizer } from '@fourfold/data';
import type { Scored } from '../sampler.ts';
import type { Finish, Piece } from '../text/writer.ts';

export interface Shape {
  /** The `object` of a whole answer, and of a chunk. */
  readonly whole: string;
  readonly chunk: string;
  readonly idPrefix: string;
  wholeChoice(index: number, text: string, finish: Finish | null, logprobs: unknown): object;
  chunkChoice(index: number, text: string, finish: Finish | null, logprobs: unknown): object;
  /** A chunk's choice that goes before a streamed answer. */
  readonly opening?: ((index: number) => object) | undefined;
  logprobs(tokenizer: Tokenizer, piece: Piece, offset: number): object;
}

export const chatShape: Shape = {
  whole: 'chat.completion',
  chunk: 'chat.completion.chunk',
  idPrefix: 'chatcmpl-',
  wholeChoice: (index, content, finish_reason, logprobs) => ({
    ...{ index, message: { role: 'assistant', content, refusal: null }, logprobs, finish_reason },
  }),
  chunkChoice: (index, text, finish_reason, logprobs) => ({
    ...{ index, delta: text === '' ? {} : { content: text }, logprobs, finish_reason },
  }),
  opening: (index) => ({
    ...{ index, delta: { role: 'assistant', content: '', refusal: null }, logprobs: null, finish_reason: null },
  }),
  logprobs: (tokenizer, { tokens }) => ({
    content: tokens.map((chosen) => ({
      ...told(tokenizer, chosen),
      top_logprobs: chosen.alternatives.map((each) => told(tokenizer, each)),
    })),
    refusal: null,
  }),
};

export const completionShape: Shape = {
  whole: 'text_completion',
  chunk: 'text_completion',
  idPrefix: 'cmpl-',
  wholeChoice: (index, text, finish_reason, logprobs) => ({ index, text, logprobs, finish_reason }),
  chunkChoice: (index, text, finish_reason, logprobs) => ({ index, text, logprobs, finish_reason }),
  logprobs: (tokenizer, { tokens }, offset) => {
    const texts = tokens.map(({ token }) => tokenizer.decode([token]));
    return {
      tokens: texts,
      token_logprobs: tokens.map(({ logProbability }) => logProbability),
      top_logprobs: tokens.map(({ alternatives }) => byText(tokenizer, alternatives)),
      text_offset: texts.map((_, i) => offset + texts.slice(0, i).join('').length),
    };
  },
};

/** A token's text, its log-probability, and its bytes where it is whole characters. */
function told(tokenizer: Tokenizer, { token, logProbability }: Scored) {
  const text = tokenizer.decode([token]);
  return { token: text, logprob: logProbability, bytes: text.includes('\ufffd') ? null : [...Buffer.from(text)] };
}

/** Two tokens may have one text: the likelier one's log-probability stays. */
const byText = (tokenizer: Tokenizer, scored: readonly Scored[]): Record<string, number> =>
  Object.fromEntries(
    scored.toReversed().map(({ token, logProbability }) => [tokenizer.decode([token]), logProbability]),
  );

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export const usageOf = (promptTokens: number, answerTokens: number): Usage => ({
  prompt_tokens: promptTokens,
  completion_tokens: answerTokens,
  total_tokens: promptTokens + answerTokens,
});
