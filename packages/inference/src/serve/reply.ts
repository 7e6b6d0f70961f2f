/**
 * One request's answers as one reply: a JSON object when all are done, or server-sent events while they come.
 *
 *     data: {"id": "chatcmpl-...", "object": "chat.completion.chunk", "choices": [...]}
 *
 *     data: [DONE]
 *
 * A stream that fails amid its answer has begun with status 200 already: its last event is an error object.
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
import { randomUUID } from 'node:crypto';
import type { Tokenizer } from '@fourfold/data';
import type { Finish } from '../text/writer.ts';
import type { ChoicePiece } from './answers.ts';
import { apiErrorOf, bodyOf, isOurs } from './errors.ts';
import type { Metrics } from './metrics.ts';
import { type Shape, usageOf } from './shapes.ts';

export interface Reply {
  readonly shape: Shape;
  readonly model: string;
  readonly tokenizer: Tokenizer;
  readonly pieces: AsyncGenerator<ChoicePiece, void>;
  readonly choices: number;
  readonly promptTokens: number;
  readonly wantsLogprobs: boolean;
  readonly wantsUsage: boolean;
  readonly metrics: Metrics;
  /** Hears of what went wrong in a stream that had begun. */
  readonly onError: (error: unknown) => void;
}

/** What is known of one answer so far. */
interface Choice {
  text: string;
  finish: Finish | null;
  computed: number;
  readonly logprobs: object[];
}

const choicesOf = (count: number): Choice[] =>
  Array.from({ length: count }, () => ({ text: '', finish: null, computed: 0, logprobs: [] }));

const headOf = ({ shape, model }: Reply, object: string) => ({
  ...{ id: `${shape.idPrefix}${randomUUID()}`, object, created: Math.floor(Date.now() / 1000), model },
});

const usageIn = (reply: Reply, choices: readonly Choice[]) =>
  usageOf(
    reply.promptTokens,
    choices.reduce((sum, { computed }) => sum + computed, 0),
  );

/** The pieces as they come, each taken down in its choice, with the log-probabilities it tells. */
async function* noted(reply: Reply, choices: readonly Choice[]) {
  const { shape, tokenizer, metrics } = reply;
  const began = performance.now();
  const firsts = new Map<Choice, number>();
  for await (const piece of reply.pieces) {
    const choice = choices[piece.choice] as Choice;
    const now = performance.now();
    if (!firsts.has(choice)) metrics.onFirstToken((now - began) / 1000);
    if (!firsts.has(choice)) firsts.set(choice, now);
    const logprobs = reply.wantsLogprobs ? shape.logprobs(tokenizer, piece, choice.text.length) : null;
    if (logprobs) choice.logprobs.push(logprobs);
    choice.text += piece.text;
    choice.computed = piece.computed;
    choice.finish = piece.finish ?? null;
    if (piece.finish) metrics.onAnswer(piece.computed, (now - (firsts.get(choice) as number)) / 1000);
    yield { piece, logprobs };
  }
}

/** The whole reply, when all answers are done. */
export async function wholeReply(reply: Reply): Promise<object> {
  const choices = choicesOf(reply.choices);
  const all = noted(reply, choices);
  while (!(await all.next()).done);
  return {
    ...headOf(reply, reply.shape.whole),
    choices: choices.map(({ text, finish, logprobs }, index) =>
      reply.shape.wholeChoice(index, text, finish, reply.wantsLogprobs ? joined(logprobs) : null),
    ),
    usage: usageIn(reply, choices),
  };
}

/** Lists of the same names, one after another: {a: [1]} and {a: [2]} to {a: [1, 2]}. */
function joined(parts: readonly object[]): object {
  const all: Record<string, unknown> = {};
  for (const part of parts)
    for (const [name, value] of Object.entries(part))
      all[name] = Array.isArray(value) ? [...((all[name] as unknown[]) ?? []), ...value] : value;
  return all;
}

/** The reply as events. A client that goes away ends the answers. */
export function streamedReply(reply: Reply): Response {
  const events = ReadableStream.from(eventsOf(reply));
  const headers = { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'X-Accel-Buffering': 'no' };
  return new Response(events as ReadableStream<Uint8Array<ArrayBuffer>>, { headers });
}

async function* eventsOf(reply: Reply): AsyncGenerator<Uint8Array, void> {
  const { shape, wantsUsage } = reply;
  const encoder = new TextEncoder();
  const event = (data: object | string): Uint8Array =>
    encoder.encode(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  const choices = choicesOf(reply.choices);
  const head = headOf(reply, shape.chunk);
  const chunk = (choice: object): Uint8Array =>
    event({ ...head, choices: [choice], ...(wantsUsage ? { usage: null } : {}) });
  try {
    if (shape.opening) for (const index of choices.keys()) yield chunk(shape.opening(index));
    for await (const { piece, logprobs } of noted(reply, choices))
      yield chunk(shape.chunkChoice(piece.choice, piece.text, piece.finish ?? null, logprobs));
    if (wantsUsage) yield event({ ...head, choices: [], usage: usageIn(reply, choices) });
    yield event('[DONE]');
  } catch (error) {
    if (isOurs(error)) reply.onError(error);
    yield event(bodyOf(apiErrorOf(error)));
  }
}
