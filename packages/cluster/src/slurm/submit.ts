/**
 * Giving jobs to Slurm: one by one, or those that need the same as one array.
 */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { JobOptions } from './options.ts';
import { submitScript } from './queue.ts';
import { arrayScript, type Job, jobScript } from './script.ts';
import { createStatus, readStatus, removeStatus, statusOf, writeStatus } from './state.ts';

// biome-ignore format: a table
export const submission = z.object({
  array: z.int().positive().optional()
    .describe('runs that need the same become one array, of which at most so many run at once')
    .meta({ group: 'Submission' }),
  dryRun: z.boolean().default(false).describe('print the scripts; write and submit nothing'),
});
type Submission = Readonly<z.infer<typeof submission>>;

/** What is said to sbatch beside the script: it holds for this submission, not for the run. */
const flagsOf = ({ hold, dependency }: Partial<JobOptions>): string[] => [
  ...(hold ? ['--hold'] : []),
  ...(dependency ? [`--dependency=${dependency}`] : []),
];

/** Submits all, or prints what would be. A sentence says of each what came of it. */
export async function submitAll(
  jobs: readonly Job[],
  options: Partial<JobOptions>,
  { array, dryRun }: Submission,
): Promise<void> {
  const flags = flagsOf(options);
  const groups = array ? alike(jobs) : jobs.map((job): Group => [job]);
  for (const [index, group] of groups.entries()) {
    const [first] = group;
    if (dryRun) print(group, flags, array);
    else if (group.length === 1) await submitJobs(group, first.folder, 'job.sh', flags);
    else {
      const script = `array-${new Date().toISOString().replace(/\W|Z/g, '')}-${index}.sh`;
      writeFileSync(join(dirname(first.folder), script), arrayScript(group, array ?? group.length));
      await submitJobs(group, dirname(first.folder), script, flags);
    }
  }
}

type Group = readonly [Job, ...Job[]];

/** Jobs that ask the same of Slurm, together. */
function alike(jobs: readonly Job[]): Group[] {
  const groups = new Map<string, [Job, ...Job[]]>();
  for (const job of jobs) {
    const key = JSON.stringify([job.options, job.resources]);
    const group = groups.get(key);
    if (group) group.push(job);
    else groups.set(key, [job]);
  }
  return [...groups.values()];
}

/** Submits a script that runs all of them. Where sbatch refuses it, the runs are in the state that they were in. */
async function submitJobs(group: Group, folder: string, script: string, flags: readonly string[]): Promise<void> {
  const before = group.map((job) => ({ job, status: readStatus(job.folder) }));
  for (const { folder } of group) removeStatus(folder);
  try {
    const number = await submitScript(folder, script, flags);
    for (const [i, { folder, name }] of group.entries()) {
      const own = group.length === 1 ? number : `${number}_${i}`;
      createStatus(folder, statusOf('pending', own)); // unless the job runs already, and has written it
      console.log(`${name}: job ${own}`);
    }
  } catch (error) {
    for (const { job, status } of before) if (status.state !== 'init') writeStatus(job.folder, status);
    throw error;
  }
}

function print(group: Group, flags: readonly string[], array: number | undefined): void {
  for (const job of group) console.log(`# ${job.folder}/job.sh\n${jobScript(job)}`);
  const [first] = group;
  if (group.length > 1)
    console.log(`# ${dirname(first.folder)}/array.sh\n${arrayScript(group, array ?? group.length)}`);
  console.log(`sbatch ${['--parsable', ...flags, group.length > 1 ? 'array.sh' : 'job.sh'].join(' ')}`);
}
