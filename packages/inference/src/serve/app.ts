/**
 * The addresses of a server, as OpenAI's:
 *
 *     POST /v1/chat/completions     a chat's next answer          GET /v1/models    what is served
 *     POST /v1/completions          a text, gone on with          GET /health       how it is
 *     GET  /                        a page to chat on             GET /metrics      for Prometheus
 *
 * A server isn't open to whoever can reach it: with a key, all but the page and /health want it; without --cors-origin
 * no other site's page may read an answer, and since a body must be called JSON, none may ask for one either.
 */
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { z } from 'zod';
import type { Engine } from '../engine/engine.ts';
import { wantTemplate } from '../text/template.ts';
import type { Vocabulary } from '../text/vocabulary.ts';
import { type Asked, startAnswers } from './answers.ts';
import { ApiError, apiErrorOf, bodyOf, isOurs, schemaError } from './errors.ts';
import { isKey } from './key.ts';
import type { Metrics } from './metrics.ts';
import { openPage } from './page.ts';
import { type Reply, streamedReply, wholeReply } from './reply.ts';
import {
  type ChatRequest,
  type CommonRequest,
  type CompletionRequest,
  chatSchema,
  completionSchema,
} from './schema.ts';
import { chatShape, completionShape, type Shape } from './shapes.ts';

export interface Service {
  /** The model's name for clients. */
  readonly name: string;
  readonly vocabulary: Vocabulary;
  readonly engine: Engine;
  readonly metrics: Metrics;
  /** What clients must show; undefined: nothing. */
  readonly apiKey?: string | undefined;
  /** Whose pages may read answers: origins, or '*'. */
  readonly corsOrigins: readonly string[];
  /** Bytes of a body. */
  readonly maxBody: number;
  /** Milliseconds that a request may take. */
  readonly timeout: number;
  /** Whether the server is about to end. */
  isStopping(): boolean;
  /** Hears of defects, and of decoders that fail. */
  readonly onError: (error: unknown) => void;
}

/** What differs between chats and plain texts. */
interface Kind<Body extends CommonRequest> {
  readonly schema: z.ZodType<Body>;
  readonly shape: Shape;
  readonly asked: (service: Service, body: Body) => Asked;
}

export function createApp(service: Service): Hono {
  const { name, engine, metrics, onError } = service;
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    metrics.onRequest(c.req.path.startsWith('/v1/') ? routeOf(c.req.path) : 'other', c.res.status);
  });
  if (service.corsOrigins.length > 0)
    app.use('/v1/*', cors({ origin: service.corsOrigins.includes('*') ? '*' : [...service.corsOrigins] }));
  for (const path of ['/v1/*', '/metrics'])
    app.use(path, async (c, next) => {
      if (service.apiKey !== undefined && !isKey(c.req.header('Authorization'), service.apiKey))
        throw new ApiError(401, 'This server wants its key: Authorization: Bearer KEY', { code: 'invalid_api_key' });
      await next();
    });
  const tooLong = (): never => {
    throw new ApiError(413, `The body is longer than ${service.maxBody} bytes: send less`, { code: 'too_long' });
  };
  app.use('/v1/*', bodyLimit({ maxSize: service.maxBody, onError: tooLong }));

  const model = { id: name, object: 'model', created: Math.floor(Date.now() / 1000), owned_by: 'fourfold' };
  app.get('/v1/models', (c) => c.json({ object: 'list', data: [model] }));
  app.get('/v1/models/:id{.+}', (c) => {
    checkModel(service, c.req.param('id'));
    return c.json(model);
  });
  app.post('/v1/chat/completions', (c) => respond(service, c.req.raw, chats));
  app.post('/v1/completions', (c) => respond(service, c.req.raw, texts));
  app.get('/health', (c) => {
    const status = service.isStopping() ? 'stopping' : engine.failure ? 'failed' : 'ok';
    const { running, waiting, failure = null } = engine;
    return c.json({ status, model: name, running, waiting, message: failure }, status === 'ok' ? 200 : 503);
  });
  app.get('/metrics', async (c) => c.body(await metrics.registry.metrics(), 200, contentType(metrics)));
  const page = openPage();
  app.get('/', (c) => c.html(page.html, 200, page.headers));

  app.notFound((c) => {
    const error = new ApiError(404, `There is no ${c.req.method} ${c.req.path} here`, { code: 'unknown_url' });
    return c.json(bodyOf(error), 404);
  });
  app.onError((error, c) => {
    const known = apiErrorOf(error);
    if (isOurs(error)) onError(error);
    if (known.status === 429) c.header('Retry-After', '1');
    return c.json(bodyOf(known), known.status as ContentfulStatusCode);
  });
  return app;
}

const contentType = ({ registry }: Metrics) => ({ 'Content-Type': registry.contentType });

/** A route's name for /metrics: of those that there are, so that strangers can't make it grow. */
const routeOf = (path: string): string =>
  ['/v1/chat/completions', '/v1/completions', '/v1/models'].find((route) => path.startsWith(route)) ?? 'other';

function checkModel({ name }: Service, asked: string | undefined): void {
  if (asked === undefined || asked === name) return;
  const message = `There is no model ${JSON.stringify(asked)} here: use ${JSON.stringify(name)}`;
  throw new ApiError(404, message, { param: 'model', code: 'model_not_found' });
}

// ## Answers

const chats: Kind<ChatRequest> = {
  schema: chatSchema,
  shape: chatShape,
  asked: ({ name, vocabulary, engine }, body) => ({
    prompts: [[...vocabulary.tokenizer.encode(wantTemplate(name, vocabulary.template).render(body.messages))]],
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? engine.maxSeqLength,
    alternatives: body.logprobs ? (body.top_logprobs ?? 0) : 0,
    wantsLogprobs: body.logprobs ?? false,
    goesOn: false,
  }),
};

const texts: Kind<CompletionRequest> = {
  schema: completionSchema,
  shape: completionShape,
  asked: ({ vocabulary: { begin, tokenizer } }, body) => ({
    prompts: body.prompt.map((each) => (typeof each === 'string' ? [...begin, ...tokenizer.encode(each)] : each)),
    maxTokens: body.max_tokens ?? 16, // OpenAI's default
    alternatives: body.logprobs ?? 0,
    wantsLogprobs: body.logprobs !== undefined,
    goesOn: true,
  }),
};

async function respond<B extends CommonRequest>(service: Service, request: Request, kind: Kind<B>): Promise<Response> {
  if (service.isStopping())
    throw new ApiError(503, 'The server is about to stop: ask another one', { code: 'stopping' });
  const body = await readBody(request, kind.schema);
  checkModel(service, body.model);
  const asked = kind.asked(service, body);
  const signal = AbortSignal.any([goneAway(request), AbortSignal.timeout(service.timeout)]);
  const { engine, vocabulary, name: model, metrics, onError } = service;
  const reply: Reply = {
    ...{ shape: kind.shape, model, tokenizer: vocabulary.tokenizer, metrics, onError },
    pieces: startAnswers(engine, vocabulary, body, asked, signal),
    choices: asked.prompts.length * (body.n ?? 1),
    promptTokens: asked.prompts.reduce((sum, { length }) => sum + length, 0),
    wantsLogprobs: asked.wantsLogprobs,
    wantsUsage: body.stream_options?.include_usage ?? false,
  };
  return body.stream ? streamedReply(reply) : Response.json(await wholeReply(reply));
}

/** Aborts when the client goes away, with an error: the request's own signal brings whatever the library gives. */
function goneAway({ signal }: Request): AbortSignal {
  const gone = new AbortController();
  signal.addEventListener('abort', () => gone.abort(new ApiError(499, 'The client went away')), { once: true });
  return gone.signal;
}

async function readBody<B>(request: Request, schema: z.ZodType<B>): Promise<B> {
  const type = request.headers.get('Content-Type') ?? '';
  if (!/^application\/json\b/i.test(type))
    throw new ApiError(415, `A body of type ${JSON.stringify(type)} isn't read: send application/json`);
  let value: unknown;
  try {
    value = JSON.parse(await request.text());
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError(400, 'The body is not valid JSON', { code: 'invalid_json' });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw schemaError(result.error);
}
