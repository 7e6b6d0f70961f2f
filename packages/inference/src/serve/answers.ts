/**
 * A checked request as what the engine is to write: several prompts, several answers to each.
 *
 *     prompts ["a", "b"], n = 2      choices 0 and 1 answer "a", 2 and 3 answer "b"; choice i of a prompt draws by the
 *                                    request's seed and i, so that answers differ and each can be had again
 */
import { randomInt } from 'node:crypto';
import type { Engine } from '../engine/engine.ts';
import type { Sampling } from '../sampler.ts';
import type { Vocabulary } from '../text/vocabulary.ts';
import { type Piece, type TextRequest, write } from '../text/writer.ts';
import type { CommonRequest } from './schema.ts';

/** A request's prompts, as tokens, and what its kind adds. */
export interface Asked {
  readonly prompts: readonly (readonly number[])[];
  readonly maxTokens: number;
  /** How many of the likeliest tokens are told, and whether log-probabilities are told at all. */
  readonly alternatives: number;
  readonly wantsLogprobs: boolean;
  readonly goesOn: boolean;
}

/** A piece of one of a request's answers. */
export interface ChoicePiece extends Piece {
  readonly choice: number;
}

/**
 * Starts all answers of a request.
 *
 * @throws what Engine.generate throws; then none has been started
 */
export function startAnswers(
  engine: Engine,
  vocabulary: Vocabulary,
  body: CommonRequest,
  asked: Asked,
  signal: AbortSignal,
): AsyncGenerator<ChoicePiece, void> {
  const seed = body.seed ?? randomInt(2 ** 47);
  const given = new AbortController();
  const started: AsyncGenerator<ChoicePiece, void>[] = [];
  try {
    for (const prompt of asked.prompts)
      for (let i = 0; i < (body.n ?? 1); i++) {
        const request: TextRequest = {
          ...{ prompt, maxTokens: asked.maxTokens, stop: body.stop ?? [], goesOn: asked.goesOn },
          sampling: samplingFor(body, asked.alternatives, seed, i),
          signal: AbortSignal.any([signal, given.signal]),
        };
        started.push(numbered(started.length, write(engine, vocabulary, request)));
      }
  } catch (error) {
    given.abort();
    throw error;
  }
  return merged(started, given);
}

const samplingFor = (body: CommonRequest, alternatives: number, seed: number, choice: number): Sampling => ({
  temperature: body.temperature ?? 1,
  topP: body.top_p ?? 1,
  topK: body.top_k ?? 0,
  ...{ seed, choice, alternatives },
  bias: new Map(Object.entries(body.logit_bias ?? {}).map(([id, bias]) => [Number(id), bias])),
});

async function* numbered(choice: number, pieces: AsyncIterable<Piece>): AsyncGenerator<ChoicePiece, void> {
  for await (const piece of pieces) yield { ...piece, choice };
}

/** The pieces of all, each as soon as it's there. Whoever stops reading ends all of them. */
async function* merged<T>(sources: readonly AsyncIterator<T, void>[], given: AbortController): AsyncGenerator<T, void> {
  const nextOf = async (source: AsyncIterator<T, void>) => ({ source, result: await source.next() });
  const pending = new Map(sources.map((source) => [source, nextOf(source)]));
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done) pending.delete(source);
      else {
        pending.set(source, nextOf(source));
        yield result.value;
      }
    }
  } finally {
    given.abort();
    for (const left of pending.values()) left.catch(() => {}); // they end by being aborted
  }
}
