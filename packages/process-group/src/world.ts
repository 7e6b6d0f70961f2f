/**
 * Joins this process to its world: the ranks that a launcher has started together.
 *
 *     await inWorld({}, async (world) => {
 *       const sum = await world.allReduce(tf.scalar(world.rank))
 *     })
 *
 * Started by `npx fourfold launch`, torchrun, srun or mpirun, each process finds in its environment which rank it is
 * and where rank 0 is met: at MASTER_ADDR and MASTER_PORT, or with MASTER_ADDR=file:///shared/run-7.json through a file
 * on a disk that all of them see. Alone, it is a world of one.
 */
import { fileURLToPath } from 'node:url';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { announcePlace, endWithLauncher } from './launch/rank.ts';
import { type NcclTransport, openNccl } from './nccl/index.ts';
import { ProcessGroup } from './process-group.ts';
import { type Endpoint, openEndpoint } from './tcp/endpoint.ts';
import { fileStore } from './tcp/file-rendezvous.ts';
import { type Place, placeOf } from './tcp/rendezvous.ts';
import { dialStore, type Store, serveStore } from './tcp/store.ts';
import { type TcpOptions, TcpTransport, WORLD } from './tcp/tcp.ts';

/** How a process finds the others, and how tensors travel. */
export interface WorldOptions extends TcpOptions {
  /** What carries tensors; default tcp. nccl needs a GPU for each rank, and meets over tcp too. */
  readonly transport?: 'tcp' | 'nccl' | undefined;
  /** Default: process.env. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** How long to wait for the others at the beginning, in seconds; default: the launcher's --timeout, or 60. */
  readonly meetingSeconds?: number;
  /** How long a collective may wait for a peer, in seconds; default: the launcher's --timeout, or NCCL's 600. */
  readonly timeoutSeconds?: number;
}

/** This process's end of the world. */
export interface Joined {
  /** The group of all ranks. */
  readonly world: ProcessGroup;
  /** Ends the run: tells all peers why. Closing the world instead says that all is well. */
  fail(error: Error): Promise<void>;
}

/** Whether a launcher has started this process as one of several ranks. */
export const isLaunched = (environment: Environment = process.env): boolean => placeIn(environment) !== undefined;

/** How often the launcher has started the ranks before, after failures: 0 the first time, and without a launcher. */
export const attempt = (environment: Environment = process.env): number => placeIn(environment)?.attempt ?? 0;

/** Variables by name: launchers tell a process its rank so. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The place that a launcher gave this process. A file to meet through stands in for an address, which is then not asked
 * for.
 */
const placeIn = (environment: Environment): Place | undefined =>
  placeOf(fileOf(environment) ? { ...environment, MASTER_ADDR: '127.0.0.1' } : environment);

/**
 * Runs `body` as one rank of the world, which it closes; if it throws, the other ranks are told, and fail too.
 *
 * @throws UserError as joinWorld does, and what `body` throws
 */
export async function inWorld<R>(options: WorldOptions, body: (world: ProcessGroup) => Promise<R>): Promise<R> {
  const { world, fail } = await joinWorld(options);
  try {
    const result = await body(world);
    await world.close();
    return result;
  } catch (error) {
    await fail(new Error(messageOf(error)));
    throw error;
  }
}

/**
 * Meets the other ranks and connects with each.
 *
 * @throws UserError where the environment makes no sense, or nobody answers in time
 */
export async function joinWorld(options: WorldOptions = {}): Promise<Joined> {
  const { environment = process.env } = options;
  const told = environment['FOURFOLD_TIMEOUT'];
  const { meetingSeconds = Number(told ?? 60), timeoutSeconds = Number(told ?? 600) } = options;
  endWithLauncher();
  const file = fileOf(environment);
  const place = placeIn(environment);
  if (!place) return { world: alone(), fail: async () => {} };
  const meetingTimeout = 1000 * meetingSeconds;
  const { store, secret } = await openStore(place, file, environment['FOURFOLD_HOST'], meetingTimeout);
  const { rank, worldSize, attempt } = place;
  try {
    const timeout = 1000 * timeoutSeconds;
    const endpoint = await openEndpoint({ rank, worldSize, attempt, secret, store, meetingTimeout, timeout });
    const ranks = Array.from({ length: worldSize }, (_, r) => r);
    const tcp = new TcpTransport(endpoint, WORLD, { ranks, rank }, options);
    const control = new ProcessGroup({ name: WORLD, rank, ranks, transport: tcp });
    await control.barrier(); // all have met: nobody needs the store any more
    control.recorder.reset();
    const nccl = options.transport === 'nccl' ? await overNccl(control, endpoint, timeoutSeconds) : undefined;
    const world = nccl ? new ProcessGroup({ name: WORLD, rank, ranks, transport: nccl }) : control;
    world.onPlace = announcePlace;
    const fail = (error: Error) => {
      nccl?.endSoon();
      return endpoint.fail(error);
    };
    return { world, fail };
  } finally {
    await store.close();
  }
}

/**
 * The same ranks over NCCL; their group over tcp stays beside it, and tells when one of them is lost. Results were then
 * promised that will never come, so this process ends, with 1.
 */
async function overNccl(control: ProcessGroup, endpoint: Endpoint, timeoutSeconds: number): Promise<NcclTransport> {
  const onFailure = async (error: Error) => {
    await endpoint.fail(error);
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  };
  const transport = await openNccl({ control, timeoutSeconds, onFailure });
  endpoint.onStop((error) => transport.fail(error));
  return transport;
}

/** The world of a process that nobody launched. */
const alone = (): ProcessGroup => new ProcessGroup({ name: WORLD, rank: 0, ranks: [0] });

/** The file to meet through, if MASTER_ADDR names one. */
function fileOf(environment: Environment): string | undefined {
  const address = environment['MASTER_ADDR'];
  if (!address?.startsWith('file:')) return undefined;
  try {
    return fileURLToPath(address);
  } catch {
    throw new UserError(`MASTER_ADDR=${address} names no file: write it as file:///folder/run.json`);
  }
}

/** Rank 0's store, or the way to it; through a file, with the secret that the file has. */
async function openStore(
  { rank, worldSize, attempt, host, port, secret }: Place,
  path: string | undefined,
  ownHost: string | undefined,
  timeoutMs: number,
): Promise<{ store: Store; secret: string }> {
  if (path) {
    const atHost = ownHost ? { host: ownHost } : {};
    const store = await fileStore({ path, rank, worldSize, attempt, timeoutMs, ...atHost });
    return { store, secret: store.secret };
  }
  const options = { host, port, secret, worldSize, attempt, timeoutMs };
  return { store: rank === 0 ? await serveStore(options) : await dialStore({ ...options, rank }), secret };
}
