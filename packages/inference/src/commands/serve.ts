/**
 * `npx fourfold serve`: a model behind OpenAI's protocol, with a page to chat on.
 *
 *     npx fourfold serve --port 8080
 *     curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \
 *       -d '{"messages": [{"role": "user", "content": "Who was Ahab?"}]}'
 *
 * Ctrl-C or SIGTERM lets running answers finish, for --grace seconds; a second one ends at once.
 */
import { readConfig, runMain } from '@fourfold/cli';
import { messageOf, RunError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { reopen } from '../cluster/open-ranks.ts';
import { Engine, type StepReport } from '../engine/engine.ts';
import { openModelForText } from '../open-text.ts';
import { modelFlags } from '../options.ts';
import { readKey } from '../serve/key.ts';
import { createMetrics } from '../serve/metrics.ts';
import { startServer } from '../serve/server.ts';

const schema = z.object({
  host: z.string().default('127.0.0.1').describe('address to listen at; 0.0.0.0 for all').meta({ group: 'Server' }),
  port: z.int().min(0).max(65_535).default(8080).describe('port to listen at; 0 takes a free one'),
  slots: z.int().min(1).max(256).default(8).describe('answers that are computed together'),
  maxWaiting: z.int().min(0).default(64).describe('requests that may wait for a slot; more get 429'),
  apiKeyFile: z
    .string()
    .optional()
    .describe('file with the key that clients must show; default: the variable FOURFOLD_API_KEY, if set'),
  corsOrigin: z.array(z.string()).default([]).describe('origins whose pages may read answers, or *'),
  maxBody: z
    .int()
    .min(1)
    .default(2 ** 20)
    .describe('bytes of a request, at most'),
  timeout: z.number().gt(0).max(86_400).default(600).describe('seconds that a request may take'),
  grace: z.number().min(0).max(86_400).default(30).describe('seconds for running answers when the server stops'),
  ...modelFlags,
});

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = "Serves a model over HTTP: OpenAI's chat and text completions, and a page to chat on.";
    await serve(readConfig({ name: 'npx fourfold serve', usage, schema, argv }));
  });

/** How often a lost worker is tried again. */
const RETRY_SECONDS = 3;

async function serve(config: z.output<typeof schema>): Promise<void> {
  const apiKey = readKey(config.apiKeyFile, process.env['FOURFOLD_API_KEY']);
  const opened = await openModelForText(config, { slots: config.slots });
  const { vocabulary, name } = opened;
  let { decoder } = opened;
  const metrics = createMetrics();
  const onFailure = async (error: RunError): Promise<void> => {
    console.error(`${error.message}; trying again every ${RETRY_SECONDS} s`);
    await decoder.close();
    decoder = await reopen(opened.reopen, { everyMs: 1000 * RETRY_SECONDS, report: (why) => console.error(why) });
    engine.replaceDecoder(decoder);
    console.error(`${name} is served again`);
  };
  const onStep = (report: StepReport): void => metrics.onStep(report);
  const engine = new Engine(decoder, {
    maxWaiting: config.maxWaiting,
    onStep,
    onFailure: (error) => void onFailure(error),
  });
  const server = await startServer({
    ...config,
    ...{ name, vocabulary, engine, metrics, apiKey, corsOrigins: config.corsOrigin, timeout: config.timeout * 1000 },
    onError: (error) => console.error(error instanceof RunError ? messageOf(error) : error),
  });
  console.log(`${name} is served at ${server.url}/v1, and for people at ${server.url}`);
  if (apiKey === undefined && !['127.0.0.1', '::1', 'localhost'].includes(config.host))
    console.error(`Whoever reaches ${config.host} may ask: give --apiKeyFile`);
  const signal = await firstSignal();
  console.log(`${signal}: finishing ${engine.running + engine.waiting} answers, for up to ${config.grace} s`);
  await server.stop(config.grace * 1000);
  await decoder.close();
  process.exit(0);
}

/** Waits for a signal to stop. The next one ends the process as it does every process. */
const firstSignal = (): Promise<NodeJS.Signals> =>
  new Promise((resolve) => {
    const heard = (signal: NodeJS.Signals): void => {
      for (const each of ['SIGINT', 'SIGTERM'] as const) process.removeListener(each, heard);
      resolve(signal);
    };
    for (const each of ['SIGINT', 'SIGTERM'] as const) process.on(each, heard);
  });
