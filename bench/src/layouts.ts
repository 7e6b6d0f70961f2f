/**
 * One training run in eight layouts of ranks, and their loss curves on one picture. Where tokens, heads, layers and
 * sequences lie does not change what is computed, so the eight curves must be one: they may differ by how sums round.
 *
 *     npx nx run bench:layouts                                         100 steps each, to docs/images/layouts.svg
 *     npx nx run bench:layouts -- --steps 20 --only dp8,tp4 --out /tmp/layouts.svg
 *
 * Every layout gets the same batch: dp x microBatchSize x gradAccSteps is 8 sequences. A loss that in the first 20
 * steps differs from one rank's by more than 1e-5 of its size is a mistake somewhere, and the command fails. Later,
 * differences grow as they do between any two runs: training amplifies them, exact arithmetic or not.
 */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { readConfig, runMain } from '@fourfold/cli';
import { type OverlaySeries, overlay, relativeDifferences } from '@fourfold/metrics';
import { messageOf, UserError } from '@fourfold/runtime';
import { z } from 'zod';
import { type Flags, median, type Step, tableRow, trained } from './training.ts';

/** A loss further from one rank's than `difference` of its size, in the first `steps` steps, is no rounding. */
const LIMIT = { difference: 1e-5, steps: 20 };
/** Sequences of a step: as many as the largest dp has ranks. */
const BATCH = 8;

interface Layout {
  readonly name: string;
  readonly dp?: number;
  readonly pp?: number;
  readonly cp?: number;
  readonly tp?: number;
  /** Micro-batches of a step: a pipeline needs several. */
  readonly micros?: number;
  readonly flags?: Flags;
}

const ONE: Layout = { name: 'one rank' };
// biome-ignore format: a table
const LAYOUTS = {
  dp8:     { name: 'dp8, ZeRO-1', dp: 8, flags: { zero: true } },
  tp4:     { name: 'tp4, sequence parallel', tp: 4, flags: { sequenceParallel: true } },
  pp4:     { name: 'pp4, 1f1b', pp: 4, micros: 4 },
  dp2pp2:  { name: 'dp2 x pp2, interleaved', dp: 2, pp: 2, micros: 2, flags: { ppEngine: 'interleaved' } },
  cp4:     { name: 'cp4, zigzag', cp: 4 },
  world8:  { name: 'dp2 x pp2 x tp2', dp: 2, pp: 2, tp: 2, micros: 2 },
  world16: { name: 'dp2 x pp2 x cp2 x tp2', dp: 2, pp: 2, cp: 2, tp: 2, micros: 2 },
} satisfies Record<string, Layout>;
type Name = keyof typeof LAYOUTS;
const NAMES = Object.keys(LAYOUTS) as [Name, ...Name[]];

const settings = z.object({
  steps: z.int().min(3).default(100).describe('of each run'),
  model: z.enum(['nano', 'micro']).default('micro').describe('which shape; both with four layers'),
  only: z.array(z.enum(NAMES)).default(NAMES).describe('layouts to compare with one rank'),
  precision: z.enum(['float32', 'bfloat16']).default('float32').describe('bfloat16 rounds too much: to see by how far'),
  out: z.string().default('docs/images/layouts.svg').describe('file for the picture'),
});
type Settings = z.infer<typeof settings>;

/** The settings that make a run of a layout. Four layers are enough for four stages. */
function flagsOf({ dp = 1, pp = 1, cp = 1, tp = 1, micros = 1, flags = {} }: Layout, config: Settings): Flags {
  const { model, steps, precision } = config;
  const batch = { microBatchSize: BATCH / (dp * micros), gradAccSteps: micros };
  return { model, layers: 4, steps, precision, dp, pp, cp, tp, ...batch, ...flags };
}

const largest = (values: readonly number[]): number => Math.max(0, ...values);
const lossesOf = (steps: readonly Step[]): number[] => steps.map(({ loss }) => loss);

// ## The runs, a row of the table each

const WIDTHS = [24, 5, 10, 10, 10, 9];
const HEAD = ['layout', 'ranks', 'last loss', `in ${LIMIT.steps}`, 'in all', 'ms a step'];

function rowOf({ name, dp = 1, pp = 1, cp = 1, tp = 1 }: Layout, steps: readonly Step[], apart: readonly number[]) {
  const loss = steps.at(-1)?.loss ?? Number.NaN;
  const differences = [apart.slice(0, LIMIT.steps), apart].map((part) => largest(part).toExponential(1));
  const middle = median(steps.slice(2).map(({ milliseconds }) => milliseconds)); // two to get going
  return tableRow([name, String(dp * pp * cp * tp), loss.toFixed(5), ...differences, middle.toFixed(1)], WIDTHS);
}

/** Trains in each layout, a row for each as it ends; the picture, and the layouts that are too far from one rank. */
async function compare(config: Settings, say: (line: string) => void): Promise<string[]> {
  say(`${config.model} on moby-dick, ${BATCH} sequences a step, ${config.steps} steps; differences from one rank:\n`);
  say(tableRow(HEAD, WIDTHS));
  const first = await trained(flagsOf(ONE, config));
  say(rowOf(ONE, first, []));
  const series: [OverlaySeries, ...OverlaySeries[]] = [{ name: ONE.name, losses: lossesOf(first) }];
  const failed: string[] = [];
  for (const layout of config.only.map((name): Layout => LAYOUTS[name])) {
    const steps = await trained(flagsOf(layout, config));
    const apart = relativeDifferences(lossesOf(steps), lossesOf(first));
    say(rowOf(layout, steps, apart));
    series.push({ name: layout.name, losses: lossesOf(steps) });
    if (!(largest(apart.slice(0, LIMIT.steps)) <= LIMIT.difference)) failed.push(layout.name);
  }
  const title = `The same run in ${series.length} layouts of ranks: ${config.model} on moby-dick`;
  writeFileSync(config.out, overlay({ title, series, limit: LIMIT }));
  say(`\nThe curves are in ${config.out}`);
  return failed;
}

async function main(): Promise<void> {
  const usage = 'Trains one model in eight layouts of ranks and draws their loss curves over each other.';
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name: 'nx run bench:layouts --', usage });
  try {
    accessSync(dirname(config.out), constants.W_OK);
  } catch (error) {
    throw new UserError(
      `--out ${config.out} can't be written (${messageOf(error)}): name a file in a folder that is there`,
    );
  }
  const failed = await compare(config, console.log);
  if (failed.length === 0) return;
  const limit = `${LIMIT.difference.toExponential()} from one rank in the first ${LIMIT.steps} steps`;
  console.error(`more than ${limit}: ${failed.join('; ')}`);
  process.exitCode = 1;
}

await runMain(main);
