/**
 * What clients may ask for: OpenAI's parameters, checked before any work.
 *
 * https://platform.openai.com/docs/api-reference/chat and /completions. Parameters that only label a request (`user`,
 * `metadata`) are let pass. One that would change the answer and isn't there (`tools`, penalties) is refused unless it
 * says nothing (0, null, []): an answer that ignores it would be a wrong one.
 */
import { z } from 'zod';

/** Answers of one request, at most. */
const MOST_CHOICES = 16;
const MOST_ALTERNATIVES = 20;

const count = z.int().min(1);
/** null stands for what isn't given, as in OpenAI's own. */
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? undefined);
const absent = (schema: z.ZodType, what: string) =>
  z
    .unknown()
    .optional()
    .refine((value) => value === undefined || value === null || schema.safeParse(value).success, {
      error: `${what} is not supported here: leave it out`,
    });

const stop = z
  .union([z.string().max(1000), z.array(z.string().max(1000)).max(MOST_CHOICES)])
  .transform((value) => [value].flat());

/** What chats and plain texts have in common. */
const common = {
  model: optional(z.string().max(1000)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().gt(0).max(1)),
  top_k: optional(z.int().min(0)),
  max_tokens: optional(count),
  n: optional(count.max(MOST_CHOICES)),
  stop: optional(stop),
  seed: optional(z.int()),
  stream: optional(z.boolean()),
  stream_options: optional(z.object({ include_usage: optional(z.boolean()) })),
  logit_bias: optional(z.record(z.string().regex(/^\d{1,8}$/), z.number().min(-100).max(100))),
  presence_penalty: absent(z.literal(0), 'A presence penalty'),
  frequency_penalty: absent(z.literal(0), 'A frequency penalty'),
};

const part = z.object({ type: z.literal('text', 'only text parts are read here'), text: z.string() });
const content = z.union([z.string(), z.array(part).transform((parts) => parts.map(({ text }) => text).join(''))]);
const message = z.object({
  role: z
    .enum(['system', 'developer', 'user', 'assistant'])
    .transform((role) => (role === 'developer' ? 'system' : role)),
  content,
});

export const chatSchema = z.object({
  ...common,
  messages: z.array(message).min(1).max(10_000),
  max_completion_tokens: optional(count),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(MOST_ALTERNATIVES)),
  tools: absent(z.array(z.unknown()).max(0), 'Calling tools'),
  functions: absent(z.array(z.unknown()).max(0), 'Calling functions'),
  response_format: absent(z.object({ type: z.literal('text') }), 'A format of the answer other than text'),
});

const ids = z.array(z.int().min(0)).min(1);
const prompts = z.union([
  z.string().transform((text) => [text]),
  ids.transform((tokens) => [tokens]),
  z.array(z.string()).min(1).max(MOST_CHOICES),
  z.array(ids).min(1).max(MOST_CHOICES),
]);

export const completionSchema = z.object({
  ...common,
  prompt: prompts,
  logprobs: optional(z.int().min(0).max(MOST_ALTERNATIVES)),
  echo: absent(z.literal(false), 'Echoing the prompt'),
  suffix: absent(z.literal(''), 'A suffix'),
  best_of: absent(z.literal(1), 'best_of'),
});

export type ChatRequest = z.output<typeof chatSchema>;
export type CompletionRequest = z.output<typeof completionSchema>;
export type CommonRequest = Omit<CompletionRequest, 'prompt' | 'logprobs' | 'echo' | 'suffix' | 'best_of'>;
