/**
 * `npx fourfold chat`: a conversation with a model, on a terminal or through a pipe.
 *
 *     npm run chat
 *     npx fourfold chat --system "You answer in one sentence." --temperature 0.7
 *     echo "Who was Ahab?" | npx fourfold chat
 *
 *     /reset    begins anew         /help    says what there is
 *     Ctrl-C    stops the answer; at the prompt, or twice, it ends the chat
 */
import { createInterface } from 'node:readline';
import { readConfig, runMain } from '@fourfold/cli';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { Engine } from '../engine/engine.ts';
import { openModelForText, type TextModel } from '../open-text.ts';
import { modelFlags } from '../options.ts';
import { type Message, wantTemplate } from '../text/template.ts';
import { write } from '../text/writer.ts';
import { samplingOf, samplingOptions } from './sampling.ts';

const schema = z.object({
  system: z.string().default('').describe('what the model is told before the first question').meta({ group: 'Chat' }),
  steps: z.int().min(1).default(512).describe('the most tokens of an answer'),
  ...samplingOptions,
  ...modelFlags,
});
type Config = z.output<typeof schema>;

const HELP = `/reset  begins a new conversation
/help   prints this
Ctrl-C  stops the answer; at the prompt, or twice, it ends the chat (so does Ctrl-D)`;

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = 'Talks with a model. What it said before counts: /reset begins anew.';
    const config = readConfig({ name: 'npx fourfold chat', usage, schema, argv });
    const model = await openModelForText(config, { slots: 1 });
    await converse(model, config, process).finally(() => model.decoder.close());
  });

/** What a conversation reads and writes: process, or a test's stand-in. */
export interface Terminal {
  readonly stdin: NodeJS.ReadableStream & { isTTY?: boolean };
  readonly stdout: NodeJS.WritableStream;
}

/** Asks and answers until the input ends. */
export async function converse(model: TextModel, config: Config, { stdin, stdout }: Terminal): Promise<void> {
  wantTemplate(model.name, model.vocabulary.template);
  const engine = new Engine(model.decoder);
  const isTerminal = stdin.isTTY === true;
  const screen = isTerminal ? { output: stdout, prompt: '> ', terminal: true } : {};
  const lines = createInterface({ input: stdin, ...screen });
  const begin = (): Message[] => (config.system ? [{ role: 'system', content: config.system }] : []);
  let answering: AbortController | undefined;
  lines.on('SIGINT', () => {
    if (!answering || answering.signal.aborted) lines.close();
    else answering.abort();
  });
  let isOpen = true;
  lines.once('close', () => {
    isOpen = false;
  });
  const prompt = (): void => void (isTerminal && isOpen && lines.prompt());
  if (isTerminal) stdout.write(`${model.name}: type a question, or /help\n`);
  let messages = begin();
  prompt();
  for await (const line of lines) {
    const question = line.trim();
    if (question === '/reset') messages = begin();
    else if (question === '/help') stdout.write(`${HELP}\n`);
    else if (question !== '') {
      answering = new AbortController();
      messages = await answer(model, engine, config, [...messages, { role: 'user', content: question }], {
        ...{ stdout, signal: answering.signal },
      });
      answering = undefined;
    }
    prompt();
  }
}

interface Listener {
  readonly stdout: NodeJS.WritableStream;
  readonly signal: AbortSignal;
}

/** Streams an answer. Returns the conversation with it; without the question, where the model can't answer that. */
async function answer(
  { name, vocabulary }: TextModel,
  engine: Engine,
  config: Config,
  messages: readonly Message[],
  { stdout, signal }: Listener,
): Promise<Message[]> {
  let content = '';
  try {
    const text = wantTemplate(name, vocabulary.template).render(messages);
    const prompt = [...vocabulary.tokenizer.encode(text)];
    const request = { prompt, maxTokens: config.steps, sampling: samplingOf(config), stop: [], goesOn: false, signal };
    for await (const piece of write(engine, vocabulary, request)) {
      content += piece.text;
      stdout.write(piece.text);
    }
  } catch (error) {
    if (!signal.aborted && !(error instanceof UserError)) throw error;
    if (!signal.aborted) stdout.write(`${messageOf(error)}; /reset begins anew`);
  }
  stdout.write('\n');
  return content === '' ? messages.slice(0, -1) : [...messages, { role: 'assistant', content }];
}
