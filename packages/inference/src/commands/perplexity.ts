/**
 * `npx fourfold perplexity`: how well a model expects a text.
 *
 *     npx fourfold perplexity --text book.txt --json
 *
 *     perplexity = exp( - 1/n · Σ log p(token | all tokens before it) )
 *
 * 1 would be certainty; V would be no idea at all. A text longer than the context is read in windows that overlap by
 * half, and each token counts in the first window that holds it:
 *
 *     positions   0 ───────────── C ─────── 1.5 C ─────── 2 C
 *     window 1    count the whole
 *     window 2         C/2 read anew    count the rest          so every token but the first ones has C/2 before it
 *
 * The first token of all is not counted where nothing stands before it. --windows says how many at most.
 */
import { readFileSync } from 'node:fs';
import { readConfig, runMain } from '@fourfold/cli';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { progressBar } from '@fourfold/runtime/progress';
import { z } from 'zod';
import type { Decoder, Row } from '../decoder.ts';
import { openModelForText } from '../open-text.ts';
import { modelFlags } from '../options.ts';

const schema = z.object({
  text: z.string().describe('the file of the text').meta({ group: 'Text' }),
  context: z.int().min(2).optional().describe('tokens of a window; default: what a sequence may have'),
  maxTokens: z.int().min(2).optional().describe('measures so many tokens of the beginning; default: all'),
  json: z.boolean().default(false).describe('prints one line of JSON'),
  ...modelFlags,
});

export interface Measured {
  /** How many tokens were counted. */
  readonly tokens: number;
  /** In nats a token. */
  readonly meanNegativeLogLikelihood: number;
  readonly perplexity: number;
}

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = 'Measures how well a model expects a text: the lower, the better.';
    await perplexity(readConfig({ name: 'npx fourfold perplexity', usage, schema, argv }));
  });

async function perplexity(config: z.output<typeof schema>): Promise<void> {
  const text = readText(config.text);
  const { decoder, vocabulary, name } = await openModelForText(config, { slots: 1 });
  try {
    const ids = [...vocabulary.begin, ...vocabulary.tokenizer.encode(text)].slice(0, config.maxTokens);
    const context = Math.min(config.context ?? decoder.maxSeqLength, decoder.maxSeqLength);
    const bar = progressBar({ label: 'Measuring', total: ids.length, unit: 'tokens' });
    const measured = await measure(decoder, ids, context, (count) => bar.update(count)).finally(() => bar.done());
    const { tokens, meanNegativeLogLikelihood: mean, perplexity } = measured;
    if (config.json) console.log(JSON.stringify(measured));
    else console.log(`${name}: perplexity ${perplexity.toFixed(3)}, ${mean.toFixed(4)} nats a token of ${tokens}`);
  } finally {
    await decoder.close();
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`text=${path} can't be read (${messageOf(error)}): give the path of a text file`);
  }
}

/** One window: positions of the text, and from which on tokens count. */
interface Window {
  readonly from: number;
  readonly to: number;
  readonly counted: number;
}

/** The windows of a text of `length` tokens: each but the first reads half a context that was counted before. */
export function windowsOf(length: number, context: number): Window[] {
  const half = Math.max(1, Math.floor(context / 2));
  const windows: Window[] = [{ from: 0, to: Math.min(length, context), counted: 1 }];
  for (let done = context; done < length; done += context - half)
    windows.push({ from: done - half, to: Math.min(length, done - half + context), counted: done });
  return windows;
}

/**
 * Measures the tokens, by slot 0 of the decoder.
 *
 * @param context tokens of a window, from 2 to the decoder's positions
 * @throws UserError where the text has fewer than two tokens
 */
export async function measure(
  decoder: Decoder,
  ids: readonly number[],
  context: number,
  progress: (tokens: number) => void = () => {},
): Promise<Measured> {
  if (ids.length < 2) throw new UserError(`The text has ${ids.length} tokens: give one of at least 2`);
  let [sum, tokens] = [0, 0];
  for (const window of windowsOf(ids.length, context)) {
    const rows = rowsOf(ids, window);
    for (let at = 0; at < rows.length; at += decoder.maxRows) {
      const part = rows.slice(at, at + decoder.maxRows);
      const all = await decoder.step(part);
      const telling = part.filter(({ wanted }) => wanted === 'all');
      for (const [i, { values, logSumExp }] of all.entries()) {
        const next = ids[window.from + (telling[i] as Row).position + 1] as number;
        sum += logSumExp - (values[next] as number);
        tokens++;
      }
      progress(window.from + at + part.length);
    }
  }
  const mean = sum / tokens;
  return { tokens, meanNegativeLogLikelihood: mean, perplexity: Math.exp(mean) };
}

/** A window's rows: all tokens but the last, which is only foretold. Those before counted ones tell their logits. */
function rowsOf(ids: readonly number[], { from, to, counted }: Window): Row[] {
  return ids.slice(from, to - 1).map((token, position) => {
    const foretells = from + position + 1;
    return { token, slot: 0, position, wanted: foretells >= counted ? 'all' : 'nothing' };
  });
}
