/**
 * `npx fourfold bench`: how fast a model is computed, on random weights of its shape.
 *
 *     npx fourfold bench --shape smollm2-135m --local 2 --threads 1 --buffer-float-type q80
 *     npx fourfold bench --shape llama-3.2-1b --workers 10.0.0.2:9998 --json
 *
 *     prompt        its tokens in steps of --max-rows rows, of which the last wants logits
 *     generation    --steps steps of one row each, each with the likeliest token of the one before
 *
 * Weights are drawn where they are held: nothing is downloaded, and nothing but steps goes over the network. A median
 * over steps stands for generation, since now and then the system takes a core away.
 */
import { readFileSync } from 'node:fs';
import { readConfig, runMain } from '@fourfold/cli';
import { MODELS } from '@fourfold/model';
import { openBackend } from '@fourfold/runtime';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { z } from 'zod';
import { openRanks, threadsOf } from '../cluster/open-ranks.ts';
import { randomModel } from '../cluster/random-model.ts';
import { modelShapeFrom } from '../config.ts';
import type { Decoder, Row, StepCost } from '../decoder.ts';
import { chooseOptions } from '../load.ts';
import { memoryOf } from '../memory.ts';
import { deviceOf, modelFlags, ranksFrom } from '../options.ts';
import { GROK_1, type ModelShape } from '../shape.ts';
import { lineOf, type Measured, tableOf } from './stats.ts';

const { activations, kvCache, device, threads, workers, local, secretFile, peerTimeout, bufferFloatType } = modelFlags;
const count = z.int().min(1);

const schema = z.object({
  shape: z
    .string()
    .default('smollm2-135m')
    .describe("a model's shape: smollm2-135m, Llama-3.2-1B, Llama-3-8B, ..., grok-1, or a config.json")
    .meta({ group: 'Model' }),
  layers: count.optional().describe("how many layers; default: the shape's"),
  weights: z.enum(['f32', 'bf16', 'q40', 'q41', 'q80']).default('q40').describe('format of the random weights'),
  ...{ activations, kvCache, device, threads },
  ...{ workers, local, secretFile, peerTimeout, bufferFloatType },
  promptTokens: count.default(256).describe('tokens of the prompt').meta({ group: 'Measurement' }),
  steps: count.default(64).describe('tokens to generate'),
  maxRows: count.max(65536).default(64).describe('tokens of the prompt in a step'),
  stats: z.boolean().default(false).describe('prints a line for each token'),
  json: z.boolean().default(false).describe('prints one line of JSON'),
});
type Flags = z.output<typeof schema>;

export const main = (argv: readonly string[]): Promise<void> =>
  runMain(async () => {
    const usage = 'Measures how fast a model of some shape is computed, on random weights.';
    await bench(readConfig({ name: 'npx fourfold bench', usage, schema, argv }));
  });

async function bench(flags: Flags): Promise<void> {
  const { weights, promptTokens, steps, maxRows } = flags;
  const shape = shapeOf(flags);
  const ranks = { ...ranksFrom(flags), random: weights, log: () => {} };
  const { description } = await openBackend({ device: deviceOf(flags), threads: threadsOf(ranks) });
  const options = { ...flags, weights: undefined, slots: 1, maxSeqLength: promptTokens + steps, maxRows };
  const model = randomModel(shape, weights);
  const decoder = await openRanks(model, options, ranks);
  try {
    const memory = memoryOf(model, chooseOptions(model, options), decoder.ranks);
    const onToken = (cost: StepCost, token: number): void => console.log(lineOf(cost, `token ${token}`));
    const measured = await measure(decoder, promptTokens, steps, flags.stats ? onToken : undefined);
    if (flags.json) return console.log(JSON.stringify({ ...measured, memory }));
    console.log(`${flags.shape}, ${shape.layers} layers, ${weights}, ${decoder.ranks} ranks; ${description}`);
    console.log(tableOf(measured, memory));
  } finally {
    await decoder.close();
  }
}

/** The shape by name, upper or lower case, or of a config.json. SmolLM2's models have the sizes of SmolLM's. */
export function shapeOf({ shape: name, layers }: Pick<Flags, 'shape' | 'layers'>): ModelShape {
  const wanted = name.toLowerCase().replace(/^smollm2-/, 'smollm-');
  const known = Object.entries(MODELS).find(([key]) => key.toLowerCase() === wanted)?.[1];
  const llama = { architecture: 'llama', qkNorm: false, maxPositions: 131072 } as const;
  const shape = wanted === 'grok-1' ? GROK_1 : known?.vocabulary ? { ...known, ...llama } : shapeIn(name);
  return layers ? { ...shape, layers } : shape;
}

function shapeIn(path: string): ModelShape {
  const names = Object.keys(MODELS).filter((name) => MODELS[name]?.vocabulary);
  try {
    return modelShapeFrom(JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>, path);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `--shape ${path}: use smollm2-135m, ${names.join(', ')}, grok-1, or a config.json (${messageOf(error)})`,
    );
  }
}

/** One prompt and one answer, after a short one that warms everything up; medians over the answer's tokens. */
export async function measure(
  decoder: Decoder,
  promptTokens: number,
  steps: number,
  onToken: (cost: StepCost, token: number) => void = () => {},
): Promise<Measured> {
  await prefill(decoder, Math.min(promptTokens, decoder.maxRows));
  const begin = performance.now();
  let token = await prefill(decoder, promptTokens);
  const promptSeconds = (performance.now() - begin) / 1000;
  const costs: StepCost[] = [];
  for (let i = 0; i < steps; i++) {
    const [logits] = await decoder.step([{ token, slot: 0, position: promptTokens + i, wanted: 1 }]);
    token = logits?.ids?.[0] ?? 0;
    costs.push(decoder.cost);
    onToken(decoder.cost, token);
  }
  const total = median(costs.map((cost) => cost.total));
  return {
    ...{ promptTokensPerSecond: promptTokens / promptSeconds, tokensPerSecond: 1000 / total },
    inference: median(costs.map((cost) => cost.total - cost.transfer)),
    transfer: median(costs.map(({ transfer }) => transfer)),
    ...{ sent: median(costs.map(({ sent }) => sent)), received: median(costs.map(({ received }) => received)) },
  };
}

/** Computes a prompt; the likeliest token after it. */
async function prefill(decoder: Decoder, tokens: number): Promise<number> {
  const row = (position: number): Row => ({
    ...{ token: (7 * position) % decoder.vocabulary, slot: 0, position },
    wanted: position === tokens - 1 ? 1 : 'nothing',
  });
  const rows = Array.from({ length: tokens }, (_, position) => row(position));
  let next = 0;
  for (let at = 0; at < tokens; at += decoder.maxRows) {
    const [logits] = await decoder.step(rows.slice(at, at + decoder.maxRows));
    next = logits?.ids?.[0] ?? next;
  }
  return next;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
