/**
 * A request for text, from the prompt's tokens to pieces of text that are certain.
 *
 *     engine       tokens of the answer, until one that ends a text, or as many as were asked for
 *     detokenizer  characters, whole ones
 *     stops        nothing of a string at which the text is to end
 *
 * Whoever stops reading, here at a stop string, frees the request's slot.
 */
import type { Engine } from '../engine/engine.ts';
import type { Chosen, Sampling } from '../sampler.ts';
import { Detokenizer } from './detokenizer.ts';
import { Stops } from './stops.ts';
import type { Vocabulary } from './vocabulary.ts';

/** A text that is asked for. */
export interface TextRequest {
  /** Ids of the prompt's tokens. */
  readonly prompt: readonly number[];
  /** The most tokens of the text. */
  readonly maxTokens: number;
  /** How tokens are chosen. */
  readonly sampling: Sampling;
  /** Texts after which it is over; they are not part of it. */
  readonly stop: readonly string[];
  /** Whether the text goes on from the prompt's, or is one of its own, as a chat's answer is. */
  readonly goesOn: boolean;
  /** Whether tokens that end a text end this one; default yes. */
  readonly endsItself?: boolean;
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined;
}

/** Why a text is over: it ended itself or came to a stop string, or it is as long as was allowed. */
export type Finish = 'stop' | 'length';

/** A piece of the text, as soon as nothing that follows can change it. */
export interface Piece {
  /** What it adds; may be empty. */
  readonly text: string;
  /** The tokens that came since the last piece; that which ended the text is none of them. */
  readonly tokens: readonly Chosen[];
  /** How many tokens the model has computed so far for this text, the ending one included. */
  readonly computed: number;
  /** In the last piece only. */
  readonly finish?: Finish;
}

/**
 * Starts a request.
 *
 * @returns its pieces; the last alone has `finish`
 * @throws what Engine.generate throws, before the first piece
 */
export function write(engine: Engine, vocabulary: Vocabulary, request: TextRequest): AsyncGenerator<Piece, void> {
  const ends = request.endsItself === false ? new Set<number>() : vocabulary.ends;
  return piecesOf(engine.generate({ ...request, ends }), ends, vocabulary, request);
}

async function* piecesOf(
  answer: ReadableStream<Chosen>,
  ends: ReadonlySet<number>,
  { tokenizer }: Vocabulary,
  { prompt, stop, goesOn }: TextRequest,
): AsyncGenerator<Piece, void> {
  const text = new Detokenizer(tokenizer, goesOn ? prompt : []);
  const stops = new Stops(stop);
  let tokens: Chosen[] = [];
  let computed = 0;
  let finish: Finish = 'length';
  for await (const chosen of answer) {
    computed++;
    if (ends.has(chosen.token)) {
      finish = 'stop';
      break;
    }
    tokens.push(chosen);
    const certain = stops.push(text.push(chosen.token));
    if (stops.stopped) {
      yield { text: certain, tokens, computed, finish: 'stop' };
      return;
    }
    if (certain === '') continue;
    yield { text: certain, tokens, computed };
    tokens = [];
  }
  const rest = stops.push(text.end()) + stops.end();
  yield { text: rest, tokens, computed, finish: stops.stopped ? 'stop' : finish };
}

/** All of a text at once. */
export async function writeAll(pieces: AsyncIterable<Piece>): Promise<Piece> {
  let whole: Piece = { text: '', tokens: [], computed: 0 };
  for await (const piece of pieces)
    whole = { ...piece, text: whole.text + piece.text, tokens: [...whole.tokens, ...piece.tokens] };
  return whole;
}
