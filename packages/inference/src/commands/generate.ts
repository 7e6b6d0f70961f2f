/**
 * `npx fourfold generate`: a model goes on from a text.
 *
 *     npx fourfold generate --prompt "Call me Ishmael." --steps 64
 *     npx fourfold generate --prompt "Once upon" --temperature 0.8 --top-p 0.9 --seed 7
 *
 * The text goes to stdout as it comes, and what it took to stderr.
 */
import { readConfig, runMain } from '@fourfold/cli';
import { z } from 'zod';
import { Engine } from '../engine/engine.ts';
import { openModelForText } from '../open-text.ts';
import { modelFlags } from '../options.ts';
import { write } from '../text/writer.ts';
import { samplingOf, samplingOptions } from './sampling.ts';

const schema = z.object({
  prompt: z.string().default('').describe('the text to go on from').meta({ group: 'Text' }),
  steps: z.int().min(1).default(128).describe('the most tokens to write'),
  ...samplingOptions,
  ...modelFlags,
});

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = 'Lets a model go on from a text, token by token.';
    await generate(readConfig({ name: 'npx fourfold generate', usage, schema, argv }));
  });

async function generate(config: z.output<typeof schema>): Promise<void> {
  const { decoder, vocabulary } = await openModelForText(config, { slots: 1 });
  try {
    const prompt = [...vocabulary.begin, ...vocabulary.tokenizer.encode(config.prompt)];
    const request = { prompt, maxTokens: config.steps, sampling: samplingOf(config), stop: [], goesOn: true };
    process.stdout.write(config.prompt);
    for await (const { text } of write(new Engine(decoder), vocabulary, request)) process.stdout.write(text);
    process.stdout.write('\n');
  } finally {
    await decoder.close();
  }
}
