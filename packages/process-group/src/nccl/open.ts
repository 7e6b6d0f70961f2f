/**
 * Sets NCCL up between the ranks of a group that can already talk: they compare GPUs, agree on a name, and join.
 */
import { UserError } from '@fourfold/runtime/errors';
import { read } from '@fourfold/runtime/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { ProcessGroup } from '../process-group.ts';
import { loadNccl, type NativeNccl } from './native.ts';
import { type Execute, NcclTransport, Session, within } from './nccl.ts';

/** What NCCL is set up with. */
export interface NcclOptions {
  /** A group of the same ranks over tcp: it carries the set-up, barriers and splits. */
  readonly control: ProcessGroup;
  /** How long a collective, or joining, may take; default 600. */
  readonly timeoutSeconds?: number;
  /** Called once when the ranks can't go on; it must end the process. Default: prints the error and exits with 1. */
  readonly onFailure?: (error: Error) => unknown;
  /** The native module; default: loadNccl(). */
  readonly native?: NativeNccl;
  /** Runs its ops; default: executeMany. */
  readonly execute?: Execute;
}

/** Every rank of `control` calls it. Throws UserError without CUDA or NCCL, or with two ranks on one GPU. */
export async function openNccl(options: NcclOptions): Promise<NcclTransport> {
  const { control, timeoutSeconds = 600, onFailure = endProcess, execute } = options;
  const native = options.native ?? (await loadNccl());
  const session = new Session(native, timeoutSeconds, onFailure, execute);
  await checkGpus(native, control);
  const id = await shared(control.rank === 0 ? native.uniqueId() : new Uint8Array(128), control);
  const joining = native.join(id, control.size, control.rank, timeoutSeconds);
  const comm = await within(joining, timeoutSeconds, `rank ${control.rank}: joining over NCCL`);
  native.watch((sentence) => session.fail(new Error(`rank ${control.ranks[control.rank]}: ${sentence}`)));
  return new NcclTransport(session, comm, control);
}

/** What becomes of a rank whose peers are lost: a collective on the GPU can't be called back, so the process ends. */
function endProcess(error: Error): void {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}

/** Throws where two ranks have the same GPU, since NCCL says so in words that lead nowhere. */
async function checkGpus(native: NativeNccl, control: ProcessGroup): Promise<void> {
  const mine = tf.tensor2d(wordsOf(native.gpu()), [1, 4], 'int32');
  const all = await control.allGather(mine, 0);
  const words = await read(all);
  tf.dispose([mine, all]);
  const names = control.ranks.map((_, r) => words.slice(4 * r, 4 * r + 4).join());
  const second = names.findIndex((name, r) => names.indexOf(name) < r);
  if (second < 0) return;
  const pair = [names.indexOf(names[second] as string), second].map((r) => control.ranks[r]);
  throw new UserError(
    `transport=nccl: ranks ${pair.join(' and ')} have the same GPU, and NCCL needs one for each rank: ` +
      'start as many ranks on a host as it has GPUs, or use transport=tcp',
  );
}

/** The first rank's bytes, on every rank. They travel as int32: a multiple of four of them. */
async function shared(bytes: Uint8Array, control: ProcessGroup): Promise<Uint8Array> {
  const mine = tf.tensor1d(wordsOf(bytes), 'int32');
  const first = await control.broadcast(mine, 0);
  const words = Int32Array.from(await read(first));
  tf.dispose([mine, first]);
  return Buffer.from(words.buffer);
}

/** Bytes as int32, which tensors can hold. */
const wordsOf = (bytes: Uint8Array): Int32Array => new Int32Array(Uint8Array.from(bytes).buffer);
