/**
 * What a job asks of Slurm: settings of the command line, and what follows from a run's layout.
 *
 *     dp=4 x tp=4, ranksPerNode=8   ->   2 nodes, 8 tasks on each, 16 in all, 8 GPUs on each
 */
import { rankCount } from '@fourfold/process-group/mesh';
import { UserError } from '@fourfold/runtime/errors';
import type { Settings } from '@fourfold/settings';
import { z } from 'zod';

const count = z.int().positive();

/** Minutes, or Slurm's own forms: 30, 30:00, 12:00:00, 1-12, 1-12:00:00. */
const TIME = /^(\d+|\d+:\d{2}|\d+:\d{2}:\d{2}|\d+-\d{1,2}(:\d{2}){0,2})$/;
/** One word, which can't be mistaken for a flag nor end its line of the script. */
const WORD = /^\w[\w.,:;=[\]@%/+?!&|*()-]*$/;

/** A text of a certain form, and the sentence where it hasn't it. */
const text = (key: string, form: RegExp, wanted: string) =>
  z.string().refine((value) => form.test(value), { error: ({ input }) => `--${key} ${input}: use ${wanted}` });
const word = (key: string, example: string) => text(key, WORD, `one word as Slurm takes it, such as ${example}`);

// biome-ignore format: a table
export const jobOptions = z.object({
  time: text('time', TIME, 'minutes, or H:MM:SS, or D-HH:MM:SS').default('60')
    .describe("the run's limit: minutes, H:MM:SS or D-HH").meta({ group: 'Job' }),
  ranksPerNode: count.default(8).describe('ranks on a node at most'),
  gpus: z.boolean().default(true).describe('a GPU for each rank; never for device=cpu or wasm'),
  cpusPerRank: count.optional().describe("cores for each rank; default: Slurm's"),
  mem: word('mem', '64G').optional().describe("memory of a node: 64G; default: Slurm's"),
  partition: word('partition', 'main').optional().describe('where to run'),
  qos: word('qos', 'normal').optional().describe('quality of service'),
  account: word('account', 'physics').optional().describe('who pays'),
  constraint: word('constraint', 'h100').optional().describe('features that nodes must have'),
  exclude: word('exclude', 'node[3-5],node9').optional().describe('nodes to keep away from: node[3-5],node9'),
  dependency: word('dependency', 'afterok:123').optional().describe('jobs to wait for: afterok:123'),
  hold: z.boolean().default(false).describe('submit, but wait for scontrol release'),
  notice: z.int().min(1).max(3600).default(120)
    .describe('seconds before the limit at which the run is asked to stop; Slurm may do it up to 60 earlier'),
  setup: z.string().default('').describe('lines of shell to run before the ranks: module load cuda'),
});
/** The same for a run that has options already: what isn't given stays. */
export const changedOptions = z.object(
  Object.fromEntries(
    Object.entries(jobOptions.shape).map(([key, field]) => {
      const inner = field instanceof z.ZodDefault ? field.unwrap() : field;
      return [key, inner.optional().meta(field.meta() ?? {})];
    }),
  ),
);
export type JobOptions = Readonly<z.infer<typeof jobOptions>>;

/** How many of what. */
export interface Resources {
  readonly nodes: number;
  readonly ranksPerNode: number;
  readonly ranks: number;
  readonly gpusPerNode: number;
}

/** @throws UserError where ranks can't be spread evenly, with numbers that would do */
export function resourcesOf(config: Settings, options: JobOptions): Resources {
  const ranks = rankCount(config);
  const ranksPerNode = Math.min(options.ranksPerNode, ranks);
  if (ranks % ranksPerNode !== 0) {
    const divisors = Array.from({ length: ranks }, (_, i) => i + 1).filter((n) => ranks % n === 0);
    throw new UserError(`ranksPerNode=${ranksPerNode} does not divide ${ranks} ranks: use ${divisors.join(', ')}`);
  }
  const onGpus = options.gpus && config.device !== 'cpu' && config.device !== 'wasm';
  return { nodes: ranks / ranksPerNode, ranksPerNode, ranks, gpusPerNode: onGpus ? ranksPerNode : 0 };
}
