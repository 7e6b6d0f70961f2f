/**
 * The loss curve in bfloat16 beside float32's: one run of the training command, in each precision.
 *
 *     npx nx run bench:precision                                            micro on Moby-Dick, 200 steps
 *     npx nx run bench:precision -- --device cpu --model nano --steps 60 --out /tmp
 *     npx nx run bench:precision -- --model SmolLM-135M --data text.txt --tokenizer gpt2 --learningRate 1e-3 --control
 *
 *     float32       all of it: what the others are held against
 *     masters       bfloat16 weights and activations; AdamW moves float32 weights, of which those are the rounded ones
 *     stochastic    bfloat16 weights and moments, and no float32 ones. Most updates are smaller than half a unit of the
 *                   weight's last place and would be lost in rounding; so it is rounded up or down at random, with the
 *                   odds that make the mean right
 *
 * The same sequences come in the same order. Still, losses of single steps part: rounding is noise, and where the curve
 * is steep two runs that differ by a hair are soon a step apart. What counts is the curve: its means over windows of 10
 * steps, and over the last 20. With --control float32 runs again, each batch in two halves: the same but for the order
 * of its sums. What that one differs by is no precision's fault.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readConfig, runMain } from '@fourfold/cli';
import { type OverlaySeries, overlay } from '@fourfold/metrics';
import { MODELS, RECOMPUTE } from '@fourfold/model';
import { openBackend, UserError } from '@fourfold/runtime';
import { z } from 'zod';
import { CURVE, type Distance, distanceOf, endOf, verdictOf } from './curve-distance.ts';
import { type Flags, tableRow, trained } from './training.ts';

const count = z.int().positive();
// biome-ignore format: a table
const settings = z.object({
  model: z.enum(Object.keys(MODELS)).default('micro').describe('the shape, by name'),
  layers: count.optional().describe('blocks, if not as many as the model has'),
  data: z.string().default('moby-dick').describe('moby-dick, sotu, or a path'),
  tokenizer: z.string().default('bytes').describe('bytes, gpt2 or a tokenizer.json'),
  steps: z.int().min(CURVE.end).default(200).describe('of each run'),
  seqLength: count.default(128).describe('tokens of a sequence'),
  microBatchSize: count.default(8).describe('sequences of a batch'),
  gradAccSteps: count.default(1).describe('batches whose gradients make one step'),
  learningRate: z.number().positive().default(3e-3).describe('the peak'),
  warmupSteps: z.int().nonnegative().default(20).describe('steps of rising learning rate'),
  recompute: z.enum(RECOMPUTE).default('none').describe('what of a block'),
  seed: z.int().nonnegative().default(1).describe('of initial weights and batches'),
  device: z.enum(['auto', 'cuda', 'cpu']).default('auto').describe('auto: the best there is'),
  control: z.boolean().default(false).describe('run float32 again, with its sums in another order'),
  out: z.string().default(fileURLToPath(new URL('../results', import.meta.url))).describe('folder; empty: none'),
});
type Settings = z.infer<typeof settings>;

interface Variant {
  readonly name: string;
  readonly flags: Flags;
}

const FLOAT32: Variant = { name: 'float32', flags: { precision: 'float32' } };
// biome-ignore format: a table
const BFLOAT16: readonly Variant[] = [
  { name: 'bfloat16, float32 masters', flags: { precision: 'bfloat16', moments: 'float32', masterWeights: true } },
  { name: 'bfloat16, stochastic', flags: { precision: 'bfloat16', moments: 'bfloat16', masterWeights: false } },
];

function variantsOf({ control, microBatchSize, gradAccSteps }: Settings): readonly Variant[] {
  if (!control) return BFLOAT16;
  if (microBatchSize % 2 !== 0)
    throw new UserError(`control=true halves each batch, and microBatchSize=${microBatchSize} is odd: use an even one`);
  const halves = { microBatchSize: microBatchSize / 2, gradAccSteps: 2 * gradAccSteps };
  return [{ name: 'float32, in halves', flags: { ...FLOAT32.flags, ...halves } }, ...BFLOAT16];
}

/** What the training command is told: all that was given, and the variant's. */
function flagsOf({ control: _, out: __, layers, ...rest }: Settings, { flags }: Variant): Flags {
  return { ...rest, ...(layers === undefined ? {} : { layers }), ...flags };
}

// ## The runs, a row of the table each

interface Run extends Variant {
  readonly losses: readonly number[];
  /** From float32's; the first run is that. */
  readonly distance?: Distance;
}

const WIDTHS = [26, 9, 9, 9, 8, 9, 9, 0];
const HEAD = ['', 'end loss', 'mean', 'largest', 'at step', 'windows', 'end', 'within 1 %'];

function lineOf({ name, losses, distance }: Run): string {
  const cells = [name, endOf(losses).toFixed(4)];
  if (!distance) return tableRow(cells, WIDTHS);
  const percent = (part: number) => `${(100 * part).toFixed(2)} %`;
  const { mean, largest, at, windows, end } = distance;
  const figures = [percent(mean), percent(largest), `${at}`, percent(windows), percent(end)];
  return tableRow([...cells, ...figures, verdictOf(distance)], WIDTHS);
}

async function compare(config: Settings, say: (line: string) => void): Promise<Run[]> {
  const variants = variantsOf(config);
  const lossesOf = async (variant: Variant) => (await trained(flagsOf(config, variant))).map(({ loss }) => loss);
  const reference = await lossesOf(FLOAT32);
  const runs: Run[] = [{ ...FLOAT32, losses: reference }];
  say(`relative differences from float32: steps, windows of ${CURVE.window} steps, the last ${CURVE.end}`);
  say(tableRow(HEAD, WIDTHS));
  say(lineOf(runs[0] as Run));
  for (const variant of variants) {
    const losses = await lossesOf(variant);
    const run = { ...variant, losses, distance: distanceOf(losses, reference) };
    runs.push(run);
    say(lineOf(run));
  }
  return runs;
}

/** Writes the figures and beside them the curves: results/precision-micro-200-steps-NVIDIA-H200.json and .svg. */
function save(config: Settings, description: string, runs: readonly Run[]): string {
  const { out, model, steps, data, ...rest } = config;
  const [version = '', device = ''] = description.split(' on ');
  const name = ['precision', model, `${steps}-steps`, device.replaceAll(/[^A-Za-z0-9]+/g, '-')].join('-');
  const file = join(out, name);
  const date = new Date().toISOString().slice(0, 10);
  const { node } = process.versions;
  const text = data.split('/').at(-1); // no path of this machine
  const asked = { model, steps, data: text, ...rest, tokenizer: rest.tokenizer.split('/').at(-1) };
  const [first, ...others] = runs.map(({ name, losses }) => ({ name, losses })) as [OverlaySeries, ...OverlaySeries[]];
  const title = `${model} on ${text}, in float32 and in bfloat16`;
  const limit = { difference: CURVE.limit, steps };
  mkdirSync(out, { recursive: true });
  writeFileSync(
    `${file}.json`,
    `${JSON.stringify({ date, device, node, tensorflow: version, curve: CURVE, asked, runs }, null, 2)}\n`,
  );
  writeFileSync(`${file}.svg`, overlay({ title, series: [first, ...others], limit }));
  return file;
}

async function main(): Promise<void> {
  const usage = 'Trains in float32 and in bfloat16, and says how far the loss curves are apart.';
  const config = readConfig({
    schema: settings,
    argv: process.argv.slice(2),
    name: 'nx run bench:precision --',
    usage,
  });
  variantsOf(config);
  const { description, device, note } = await openBackend({ device: config.device });
  if (device === 'wasm') throw new UserError(`bfloat16 needs TensorFlow, which can't be had here: ${note}`);
  const { model, data, steps, seqLength, microBatchSize, gradAccSteps } = config;
  const tokens = seqLength * microBatchSize * gradAccSteps;
  console.log(`${model} on ${data}, ${steps} steps of ${tokens} tokens, on ${description}`);
  const runs = await compare(config, console.log);
  if (config.out) console.log(`\nAll figures and the curves are in ${save(config, description, runs)}.json and .svg`);
}

await runMain(main);
