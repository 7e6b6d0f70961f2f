/**
 * Where this process stands in the world, from what its launcher has put into its environment.
 *
 *     RANK=1 WORLD_SIZE=4 ...        torchrun, `fourfold launch`, or a person with four terminals
 *     OMPI_COMM_WORLD_RANK=1 ...     mpirun of Open MPI
 *     SLURM_PROCID=1 ...             srun
 *
 * They differ in names only: each says who I am, how many we are, and which of them I am on this machine. Not all say
 * where to meet: rank 0's host, which must be told (MASTER_ADDR) or found in Slurm's list of nodes, and a port, which
 * all ranks derive from the job's number, so that two jobs on one machine seldom want the same.
 *
 * Open MPI comes before Slurm, for mpirun is often called within a Slurm job and the job's variables shine through.
 */
import { isIP } from 'node:net';
import { UserError } from '@fourfold/runtime/errors';
import { checkSecret, isLoopback } from './handshake.ts';

/** Who this process is, and where it meets the others. */
export interface Place {
  readonly rank: number;
  readonly worldSize: number;
  /** This process among those of its machine: which GPU is its own. */
  readonly localRank: number;
  /** Where rank 0 is met: a name or an address. */
  readonly host: string;
  readonly port: number;
  /** How often this run has been restarted. */
  readonly attempt: number;
  /** '' where none was given and none is needed. */
  readonly secret: string;
  /** Whose variables say so: "torchrun's variables", 'Open MPI', 'Slurm'. */
  readonly from: string;
}

/** Environment variables by name. */
type Env = Readonly<Record<string, string | undefined>>;

/** What the launchers say each in its own words; `host` and `port` where MASTER_ADDR and MASTER_PORT say nothing. */
interface Told {
  readonly rank: number;
  readonly worldSize: number;
  readonly localRank: number | undefined;
  /** Ranks on this machine, where told. */
  readonly localSize: number | undefined;
  readonly host: string | undefined;
  readonly port: number;
  readonly attempt: number;
  readonly from: string;
}

/** Where nothing else is said. */
const DEFAULT_PORT = 29500; // torchrun's
const MAX_RANKS = 65536;
const MAX_ID = 2 ** 48;

/**
 * The place that `env` gives this process; undefined where nothing says that there is more than this process.
 *
 * @throws UserError where a variable is no number, out of range, or missing; or the secret is
 */
export function placeOf(env: Env): Place | undefined {
  const told = fromTorchrun(env) ?? fromOpenMpi(env) ?? fromSlurm(env);
  if (!told || told.worldSize === 1) return undefined;
  const { rank, worldSize, attempt, from } = told;
  const host = hostOf(env, told);
  const port = whole(env, 'MASTER_PORT', 1, 65535) ?? told.port;
  const localRank = localRankOf(told, host);
  return { rank, worldSize, localRank, host, port, attempt, secret: checkSecret(env['FOURFOLD_SECRET'], host), from };
}

/** torchrun, and all who speak like it. */
function fromTorchrun(env: Env): Told | undefined {
  const size = pair(env, 'RANK', 'WORLD_SIZE');
  if (!size) return undefined;
  const localSize = whole(env, 'LOCAL_WORLD_SIZE', 1, size.worldSize);
  return {
    ...size,
    localRank: whole(env, 'LOCAL_RANK', 0, (localSize ?? size.worldSize) - 1),
    localSize,
    host: undefined,
    port: DEFAULT_PORT,
    attempt: whole(env, 'TORCHELASTIC_RESTART_COUNT', 0, 1e9) ?? 0,
    from: "torchrun's variables",
  };
}

/** Open MPI's mpirun, whose port comes of the job's number. */
function fromOpenMpi(env: Env): Told | undefined {
  const size = pair(env, 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE');
  if (!size) return undefined;
  const job = whole(env, 'OMPI_MCA_ess_base_jobid', 0, MAX_ID);
  return {
    ...size,
    localRank: whole(env, 'OMPI_COMM_WORLD_LOCAL_RANK', 0, size.worldSize - 1),
    localSize: whole(env, 'OMPI_COMM_WORLD_LOCAL_SIZE', 1, size.worldSize),
    host: undefined,
    port: job === undefined ? DEFAULT_PORT : portFrom(job),
    attempt: 0,
    from: 'Open MPI',
  };
}

/**
 * Slurm sets SLURM_PROCID and SLURM_NTASKS in a batch script too, of which only one runs: its NTASKS are those that
 * srun would start. What srun starts, interactive shells as well, has its own count in SLURM_STEP_NUM_TASKS.
 */
function fromSlurm(env: Env): Told | undefined {
  if (!env['SLURM_PROCID']) return undefined;
  const isStep = Boolean(env['SLURM_STEP_NUM_TASKS']);
  if (!isStep && (env['ENVIRONMENT'] === 'BATCH' || !env['SLURM_NTASKS'])) return undefined;
  const size = pair(env, 'SLURM_PROCID', isStep ? 'SLURM_STEP_NUM_TASKS' : 'SLURM_NTASKS');
  if (!size) return undefined;
  const nodes = env['SLURM_STEP_NODELIST'] || env['SLURM_JOB_NODELIST'] || env['SLURM_NODELIST'];
  const nodeCount = whole(env, env['SLURM_STEP_NUM_NODES'] ? 'SLURM_STEP_NUM_NODES' : 'SLURM_NNODES', 1, MAX_RANKS);
  const job = whole(env, 'SLURM_JOB_ID', 0, MAX_ID) ?? 0;
  const step = whole(env, 'SLURM_STEP_ID', 0, MAX_ID) ?? 0;
  return {
    ...size,
    localRank: whole(env, 'SLURM_LOCALID', 0, size.worldSize - 1),
    localSize: nodeCount === 1 ? size.worldSize : undefined,
    host: nodeCount === 1 ? undefined : nodes ? firstHost(nodes) : env['SLURM_LAUNCH_NODE_IPADDR'],
    port: portFrom(13 * job + step), // 13 apart: the first steps of a job don't meet the next job's
    attempt: whole(env, 'SLURM_RESTART_COUNT', 0, 1e9) ?? 0,
    from: 'Slurm',
  };
}

/** A port from 20000 to 29972, below those of outgoing connections; a prime spreads even numbers too. */
const portFrom = (id: number): number => 20000 + (id % 9973);

/** The first of a list of nodes as Slurm writes it: 'node003' of 'node[003-007,9],other'. */
export function firstHost(nodes: string): string | undefined {
  const first = /^(?:[^,[]|\[[^\]]*\])+/.exec(nodes)?.[0]; // up to the first comma that no bracket encloses
  return first?.replace(/\[(\d+)[^\]]*\]/g, '$1');
}

/** MASTER_ADDR, else what the launcher says, else this machine if all ranks are on it. */
function hostOf(env: Env, told: Told): string {
  const { localSize, worldSize, from } = told;
  const host = env['MASTER_ADDR'] || told.host;
  if (host && !isIP(host) && !/^[\w.-]{1,253}$/.test(host))
    throw new UserError(`MASTER_ADDR=${host} is neither a host's name nor an address: set it to rank 0's`);
  if (host) return host;
  if ((localSize ?? worldSize) === worldSize) return '127.0.0.1';
  throw new UserError(
    `MASTER_ADDR is missing: ${from} put ${localSize} of ${worldSize} ranks here, so it must name rank 0's host`,
  );
}

/**
 * Launchers fill one machine after the other. Without their word: ranks that meet on one machine are all there, and
 * ranks of several are one on each.
 */
function localRankOf({ rank, localRank, localSize }: Told, host: string): number {
  if (localRank !== undefined) return localRank;
  if (localSize !== undefined) return rank % localSize;
  return isLoopback(host) ? rank : 0;
}

/** Rank and number of ranks, which are told together or not at all. */
function pair(env: Env, rankName: string, sizeName: string): { rank: number; worldSize: number } | undefined {
  const rank = whole(env, rankName, 0, MAX_RANKS - 1);
  const worldSize = whole(env, sizeName, 1, MAX_RANKS);
  if (rank === undefined && worldSize === undefined) return undefined;
  if (rank === undefined) throw new UserError(`${sizeName}=${worldSize} is given without ${rankName}: set both`);
  if (worldSize === undefined) throw new UserError(`${rankName}=${rank} is given without ${sizeName}: set both`);
  if (rank >= worldSize) {
    const range = `use 0 to ${worldSize - 1}`;
    throw new UserError(`${rankName}=${rank} is out of range for ${sizeName}=${worldSize}: ${range}`);
  }
  return { rank, worldSize };
}

/** A variable as a whole number from `low` to `high`; undefined where it is absent or empty. */
function whole(env: Env, name: string, low: number, high: number): number | undefined {
  const text = env[name];
  if (!text) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= low && value <= high) return value;
  throw new UserError(`${name}=${text} is not a whole number from ${low} to ${high}`);
}
