/**
 * What being many ranks costs on one machine: a step of several ranks against one rank's, for the same tokens.
 *
 *     npx nx run bench:cost                                            all layouts and sizes, 15 minutes
 *     npx nx run bench:cost -- --layouts local16 --sizes micro --rounds 5
 *
 * All ranks share the cores that one rank has for itself, so nothing can be won here; what is lost is the price of the
 * layout. Local ranks take turns on one backend: they pay for smaller tensors and more calls. Ranks that are processes
 * divide the cores: they pay for the wire and for waiting. The two sides take turns, round after round, so that a
 * machine whose speed drifts is the same for both; medians of all steps after the warm-up count.
 */
import { availableParallelism, cpus } from 'node:os';
import { readConfig, runMain } from '@fourfold/cli';
import { z } from 'zod';
import { type Flags, median, tableRow, trained } from './training.ts';

interface Size {
  readonly shape: Flags;
  readonly seqLength: number;
  /** Sequences of a step. */
  readonly batch: number;
}

const shape = (dim: number, heads: number, kvHeads: number, ffn: number): Flags => ({ dim, heads, kvHeads, ffn });
// biome-ignore format: a table; 256, 4096, 8192 and 4096 tokens a step
const SIZES = {
  nano:   { shape: { model: 'nano' },       seqLength: 32,  batch: 8 },
  micro:  { shape: { model: 'micro' },      seqLength: 128, batch: 32 },
  dim256: { shape: shape(256, 4, 2, 768),   seqLength: 256, batch: 32 },
  dim512: { shape: shape(512, 8, 4, 1536),  seqLength: 256, batch: 16 },
} satisfies Record<string, Size>;

interface Layout {
  readonly name: string;
  readonly dp: number;
  /** Micro-batches of a step, on both sides: a pipeline needs some. */
  readonly micros: number;
  readonly flags: Flags;
}

// biome-ignore format: a table
const LAYOUTS = {
  local16: { name: '16 local, dp2 x pp2 x cp2 x tp2', dp: 2, micros: 2, flags: { pp: 2, cp: 2, tp: 2 } },
  dp4:     { name: '4 tcp processes, dp4',            dp: 4, micros: 1, flags: { launcher: 'processes' } },
  dp2tp2:  { name: '4 tcp processes, dp2 x tp2',      dp: 2, micros: 1, flags: { launcher: 'processes', tp: 2 } },
} satisfies Record<string, Layout>;

type SizeName = keyof typeof SIZES;
type LayoutName = keyof typeof LAYOUTS;
const sizeNames = Object.keys(SIZES) as SizeName[];
const layoutNames = Object.keys(LAYOUTS) as LayoutName[];
const measured = sizeNames.filter((name) => name !== 'nano'); // nano's steps are all overhead: to try the command

const settings = z.object({
  layouts: z.array(z.enum(layoutNames)).default(layoutNames).describe('what to hold against one rank'),
  sizes: z.array(z.enum(sizeNames)).default(measured).describe('of model and batch'),
  rounds: z.int().positive().default(3).describe('turns of each side'),
  steps: z.int().positive().default(5).describe('steps in a turn that count'),
  warmup: z.int().nonnegative().default(2).describe('steps before them that do not'),
});
type Settings = z.infer<typeof settings>;

/** Milliseconds of each step that counts, in one turn of a side. */
async function turn(flags: Flags, { warmup, steps }: Settings): Promise<number[]> {
  const run = await trained({ ...flags, steps: warmup + steps });
  return run.slice(warmup).map(({ milliseconds }) => milliseconds);
}

/** Lets the layout and one rank take turns; medians of a step, in milliseconds. */
async function race(layout: Layout, size: Size, config: Settings): Promise<{ one: number; many: number }> {
  const { dp, micros, flags } = layout;
  const { shape, seqLength, batch } = size;
  const both = { ...shape, seqLength, gradAccSteps: micros };
  const [one, many]: [number[], number[]] = [[], []];
  for (let round = 0; round < config.rounds; round++) {
    one.push(...(await turn({ ...both, microBatchSize: batch / micros }, config)));
    many.push(...(await turn({ ...both, ...flags, dp, microBatchSize: batch / micros / dp }, config)));
  }
  return { one: median(one), many: median(many) };
}

const WIDTHS = [32, 7, 7, 10, 10, 7];

async function main(): Promise<void> {
  const usage = 'Times steps of several ranks against one rank with the same tokens and cores.';
  const config = readConfig({ schema: settings, argv: process.argv.slice(2), name: 'nx run bench:cost --', usage });
  const { layouts, sizes, rounds, steps } = config;
  const cpu = `${cpus()[0]?.model ?? 'unknown CPU'}, ${availableParallelism()} cores`;
  console.log(`${cpu}; a step in milliseconds, median of ${rounds * steps}\n`);
  console.log(tableRow(['ranks', 'size', 'tokens', 'one rank', 'ranks', 'ratio'], WIDTHS));
  for (const layout of layouts) {
    for (const size of sizes) {
      const { one, many } = await race(LAYOUTS[layout], SIZES[size], config);
      const tokens = String(SIZES[size].seqLength * SIZES[size].batch);
      const times = [one.toFixed(1), many.toFixed(1), (many / one).toFixed(2)];
      console.log(tableRow([LAYOUTS[layout].name, size, tokens, ...times], WIDTHS));
    }
  }
}

await runMain(main);
