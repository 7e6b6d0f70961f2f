/**
 * The scripts that Slurm runs. A run's job.sh is whole in itself: it can be read, and given to sbatch by hand.
 *
 *     job.sh                        on the job's first node
 *       status.json: running
 *       srun node train.ts          on every node, once a rank
 *       <- USR1  the limit is near: the ranks are asked to stop, as by Ctrl-C
 *       <- TERM  scancel
 *       status.json: completed | fail | oom | timeout
 *
 * Between nodes the ranks prove by a secret that they belong together; the job draws a new one.
 */
import { fileURLToPath } from 'node:url';
import type { JobOptions, Resources } from './options.ts';

/** Any text as one word of bash, even with quotes, spaces, dollars or line ends in it. */
export const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** A run's name in letters that `#SBATCH` and squeue's columns can hold. */
export const jobName = (name: string): string => name.replace(/[^\w.-]/g, '_').slice(0, 60) || 'run';

export interface Job {
  /** The run's folder, an absolute path; config.json is in it. */
  readonly folder: string;
  readonly name: string;
  readonly options: JobOptions;
  readonly resources: Resources;
  /** Folder of its checkpoints: where a job that is submitted again goes on. */
  readonly checkpoints: string;
}

/** How a rank starts, by absolute paths, so that it does from any folder. */
const program = (): string[] => [
  process.execPath,
  '--import',
  import.meta.resolve('tsx'),
  fileURLToPath(import.meta.resolve('@fourfold/train')),
];

/** Of the folder's job.sh. */
export function jobScript(job: Job): string {
  const { folder, options, resources, checkpoints } = job;
  const files = ['--config', 'config.json', '--metrics', 'metrics.jsonl', '--checkpoints', checkpoints];
  const command = [...program(), ...files].map(quote).join(' ');
  return `#!/bin/bash
# One run on a cluster, written by \`npx fourfold slurm\`.
${directives(job, 'log-%j.txt')}
cd ${quote(folder)} || exit 1
job=\${SLURM_ARRAY_JOB_ID:+\${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=\${job:-$SLURM_JOB_ID}

# Written beside and renamed, so that a reader sees the old state or the new one, and never half of it.
state() {
  printf '{"state":"%s","job":"%s","detail":"%s","time":"%s"}\\n' "$1" "$job" "$2" "$(date -u +%FT%TZ)" \\
    >"status.json.$job" && mv -f "status.json.$job" status.json
}

ending=
trap 'ending=timeout; scancel --signal=TERM "$job"' USR1 # to the ranks alone, not to this script
trap 'ending=\${ending:-fail}' TERM
state running ''
${options.setup}
FOURFOLD_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')
export FOURFOLD_SECRET
cores=$((SLURM_CPUS_ON_NODE / ${resources.ranksPerNode})) # for each rank
export OMP_NUM_THREADS=$((cores > 0 ? cores : 1))

# Each rank sees the one GPU of its own, if the job has any.
rank='IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
[ -z "\${gpus[SLURM_LOCALID]}" ] || export CUDA_VISIBLE_DEVICES=\${gpus[SLURM_LOCALID]}
exec "$@"'
srun --mpi=none --kill-on-bad-exit=0 --wait=60${options.cpusPerRank ? ` --cpus-per-task=${options.cpusPerRank}` : ''} \\
  bash -c "$rank" rank \\
  ${command} &
ranks=$!
wait "$ranks"
code=$?
while [ "$(jobs -rp)" ]; do # a signal ended the waiting, not the ranks
  wait "$ranks"
  code=$?
done

# The words of the kernel's kill, of Slurm's, and of TensorFlow where a GPU is full.
killed='oom.kill|out of memory|exceeded (job )?memory limit|OOM when allocating'
if [ "$ending" = timeout ]; then
  state timeout 'the time limit'
elif [ "$ending" = fail ]; then
  state fail 'cancelled'
elif [ "$code" -eq 0 ]; then
  state completed ''
elif grep -qiE "$killed" "log-$job.txt"; then
  state oom 'out of memory'
else
  state fail "exit code $code"
fi
exit "$code"
`;
}

/** Of several runs that need the same: task i of the array is the i-th of the folders. */
export function arrayScript(jobs: readonly [Job, ...Job[]], atOnce: number): string {
  const [first] = jobs;
  return `#!/bin/bash
# ${jobs.length} runs, at most ${atOnce} at once, written by \`npx fourfold slurm\`.
${directives({ ...first, name: 'fourfold' }, 'array-%A_%a.txt')}
#SBATCH --array=0-${jobs.length - 1}%${atOnce}
folders=(
${jobs.map(({ folder }) => `  ${quote(folder)}`).join('\n')}
)
cd "\${folders[SLURM_ARRAY_TASK_ID]}" || exit 1
exec bash job.sh >"log-\${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID.txt" 2>&1
`;
}

/** What Slurm reads of a script. The names of folders are not in it: Slurm's rules for quoting there are its own. */
function directives({ name, options, resources }: Job, output: string): string {
  const { nodes, ranks, ranksPerNode, gpusPerNode } = resources;
  const { time, cpusPerRank, mem, partition, qos, account, constraint, exclude, notice } = options;
  const flags: Record<string, string | number | undefined> = {
    'job-name': jobName(name),
    output,
    nodes,
    ntasks: ranks,
    'ntasks-per-node': ranksPerNode,
    'gpus-per-node': gpusPerNode || undefined,
    'cpus-per-task': cpusPerRank,
    time,
    signal: `B:USR1@${notice}`,
    mem,
    partition,
    qos,
    account,
    constraint,
    exclude,
  };
  const lines = Object.entries(flags).filter(([, value]) => value !== undefined);
  return lines.map(([flag, value]) => `#SBATCH --${flag}=${value}`).join('\n');
}
