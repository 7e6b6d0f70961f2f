/**
 * `npx fourfold generate`: a model goes on from a text.
 *
 *     npx fourfold generate --prompt "Call me Ishmael." --steps 64
 *     npx fourfold generate --prompt "Once upon" --temperature 0.8 --top-p 0.9 --seed 7
 *
 * The text goes to stdout as it comes. With --stats it comes a line a token, with what each took, and a table at the
 * end (stats.ts).
 */
import { readConfig, runMain } from '@fourfold/cli';
import { z } from 'zod';
import { Engine, type StepReport } from '../engine/engine.ts';
import { openModelForText } from '../open-text.ts';
import { modelFlags } from '../options.ts';
import { type Piece, write } from '../text/writer.ts';
import { samplingOf, samplingOptions } from './sampling.ts';
import { lineOf, measuredOf, sumOf, tableOf } from './stats.ts';

const schema = z.object({
  prompt: z.string().default('').describe('the text to go on from').meta({ group: 'Text' }),
  steps: z.int().min(1).default(128).describe('the most tokens to write'),
  stats: z.boolean().default(false).describe('a line for each token: its time, of it computing and waiting, bytes'),
  ...samplingOptions,
  ...modelFlags,
});

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = 'Lets a model go on from a text, token by token.';
    await generate(readConfig({ name: 'npx fourfold generate', usage, schema, argv }));
  });

async function generate(config: z.output<typeof schema>): Promise<void> {
  const { decoder, vocabulary, memory } = await openModelForText(config, { slots: 1 });
  try {
    const prompt = [...vocabulary.begin, ...vocabulary.tokenizer.encode(config.prompt)];
    const request = { prompt, maxTokens: config.steps, sampling: samplingOf(config), stop: [], goesOn: true };
    const reports: StepReport[] = [];
    const engine = new Engine(decoder, { onStep: (report) => reports.push(report) });
    const pieces = write(engine, vocabulary, request);
    if (!config.stats) await writeText(config.prompt, pieces);
    else {
      await writeLines(config.prompt, pieces, reports);
      console.log(tableOf(measuredOf(reports), memory));
    }
  } finally {
    await decoder.close();
  }
}

async function writeText(prompt: string, pieces: AsyncIterable<Piece>): Promise<void> {
  process.stdout.write(prompt);
  for await (const { text } of pieces) process.stdout.write(text);
  process.stdout.write('\n');
}

/** A line for the prompt and the piece that its last step gives, then one for each piece. */
async function writeLines(prompt: string, pieces: AsyncIterable<Piece>, reports: StepReport[]): Promise<void> {
  let told = 0;
  for await (const { text } of pieces) {
    const cost = sumOf(reports.slice(told).map((report) => report.cost));
    if (cost.total > 0) console.log(lineOf(cost, told === 0 ? prompt + text : text));
    told = reports.length;
  }
}
