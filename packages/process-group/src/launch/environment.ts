/**
 * How a process learns which rank it is: by variables in its environment, with the names that torchrun made common.
 *
 *     2 nodes x 2 ranks      node 0           node 1
 *     RANK                   0       1        2       3       of WORLD_SIZE 4
 *     LOCAL_RANK             0       1        0       1       of LOCAL_WORLD_SIZE 2
 *     GROUP_RANK             0       0        1       1       the node's number
 *     CUDA_VISIBLE_DEVICES   0       1        0       1       the one GPU that the rank sees
 *
 * All ranks meet at MASTER_ADDR:MASTER_PORT, where rank 0 listens, and prove that they belong there by FOURFOLD_SECRET.
 */
import { randomBytes } from 'node:crypto';
import { UserError } from '@fourfold/runtime/errors';
import { freePort, type Machine, threadsFor } from './machine.ts';
import type { Address, Settings } from './settings.ts';

/** Of one that a user gives. */
const SHORTEST_SECRET = 16; // characters

/** Environment variables by name. */
type Variables = Readonly<Record<string, string | undefined>>;

/** Where the ranks of one attempt find each other. */
export interface Meeting extends Address {
  readonly secret: string;
}

/**
 * Where to meet: on one node a port and a secret that nobody had before, so that no straggler of an earlier attempt
 * gets in; between nodes what the user says. Throws UserError without a secret between nodes, or with a short one.
 */
export async function arrangeMeeting(settings: Settings, env: Variables): Promise<Meeting> {
  const { rendezvous, nnodes } = settings;
  const address = rendezvous ?? { host: '127.0.0.1', port: await freePort() };
  if (nnodes === 1) return { ...address, secret: randomBytes(32).toString('hex') };
  const secret = env['FOURFOLD_SECRET'] ?? '';
  if (secret.length >= SHORTEST_SECRET) return { ...address, secret };
  const is = secret === '' ? 'is not set' : `has ${secret.length} characters`;
  throw new UserError(
    `FOURFOLD_SECRET ${is}: between nodes, set it to the same text of ${SHORTEST_SECRET} characters or more on each`,
  );
}

/** The variables of one rank, on top of `env`, those of the user. */
export function environmentOf(
  localRank: number,
  settings: Settings,
  meeting: Meeting,
  attempt: number,
  env: Variables,
  machine: Machine,
): Variables {
  const { nproc, nnodes, nodeRank, timeout } = settings;
  const gpu = nproc <= machine.gpus.length ? machine.gpus[localRank] : undefined;
  return {
    OMP_NUM_THREADS: String(threadsFor(nproc, machine.cores)), // unless the user's own takes its place
    ...env,
    RANK: String(nodeRank * nproc + localRank),
    WORLD_SIZE: String(nnodes * nproc),
    LOCAL_RANK: String(localRank),
    LOCAL_WORLD_SIZE: String(nproc),
    GROUP_RANK: String(nodeRank),
    MASTER_ADDR: meeting.host,
    MASTER_PORT: String(meeting.port),
    FOURFOLD_SECRET: meeting.secret,
    TORCHELASTIC_RESTART_COUNT: String(attempt),
    ...(timeout === undefined ? {} : { FOURFOLD_TIMEOUT: String(timeout) }),
    ...(gpu === undefined ? {} : { CUDA_VISIBLE_DEVICES: gpu }),
  };
}

/** What to say where there are GPUs, but not one for each rank: then CUDA_VISIBLE_DEVICES stays as the user has it. */
export function sharedGpus(nproc: number, gpus: readonly string[]): string | undefined {
  if (gpus.length === 0 || nproc <= gpus.length) return undefined;
  const count = gpus.length === 1 ? '1 GPU' : `${gpus.length} GPUs`;
  return `${nproc} ranks see the same ${count}: --nproc ${gpus.length} or less gives each rank one of its own`;
}
