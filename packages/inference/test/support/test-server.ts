/**
 * A whole server, on a port of its own, over a decoder that is fake.
 */
import { Engine } from '../../src/engine/engine.ts';
import { createMetrics } from '../../src/serve/metrics.ts';
import { type RunningServer, type ServerOptions, startServer } from '../../src/serve/server.ts';
import { type FakeDecoder, type FakeOptions, fakeDecoder } from './fake-decoder.ts';
import { END, tinyVocabulary } from './tiny-text.ts';

export interface TestServer extends RunningServer {
  readonly decoder: FakeDecoder;
  readonly engine: Engine;
  readonly errors: unknown[];
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
}

export interface TestOptions extends Partial<ServerOptions> {
  readonly fake?: FakeOptions;
  readonly maxWaiting?: number;
  /** null is a model without one. */
  readonly template?: string | null;
}

/** What tests read of a reply: of an answer, an error, /health or /v1/models. */
export interface Json {
  readonly id: string;
  readonly object: string;
  readonly message: string;
  readonly data: readonly unknown[];
  readonly usage: unknown;
  readonly error: { readonly message: string; readonly type: string; readonly code: string | null };
  readonly choices: readonly {
    readonly index: number;
    readonly text: string;
    readonly message: { readonly content: string };
    readonly delta: { readonly content?: string };
    readonly finish_reason: string | null;
    readonly logprobs: {
      readonly content: readonly { readonly logprob: number; readonly top_logprobs: readonly unknown[] }[];
      readonly tokens: readonly string[];
      readonly token_logprobs: readonly number[];
      readonly top_logprobs: readonly Readonly<Record<string, number>>[];
      readonly text_offset: readonly number[];
    };
  }[];
}

export const jsonOf = async (response: Response): Promise<Json> => (await response.json()) as Json;

/** Letters only, and the end of a text where `length` says so; what it writes is a hash of all before. */
export const letters = (token: number): number => (token >= 97 && token < 123 ? 10 : token === END ? 5 : 0);

export const bigContext: FakeOptions = { maxSeqLength: 512, maxRows: 32, bias: letters };

export async function testServer(options: TestOptions = {}): Promise<TestServer> {
  const { fake = bigContext, maxWaiting = 64 } = options;
  const decoder = fakeDecoder(fake);
  const metrics = createMetrics();
  const engine = new Engine(decoder, { maxWaiting, onStep: (report) => metrics.onStep(report) });
  const vocabulary = await tinyVocabulary(options.template);
  const errors: unknown[] = [];
  const server = await startServer({
    ...{ name: 'tiny', vocabulary, engine, metrics, corsOrigins: [], maxBody: 2 ** 16, timeout: 20_000 },
    ...{ host: '127.0.0.1', port: 0, onError: (error: unknown) => errors.push(error) },
    ...options,
  });
  return {
    ...{ ...server, decoder, engine, errors },
    post: (path, body, headers = {}) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
  };
}
