/**
 * NCCL as JavaScript sees it: the functions of packages/runtime/native/nccl/module.cc, which says how they work.
 *
 * The collectives themselves are TensorFlow ops that the same library registers when it is loaded.
 */
import { createRequire } from 'node:module';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { findTensorflow } from '@fourfold/runtime/setup';
import { onTensorflow, onTensorflowCpu } from '@fourfold/runtime/tensorflow';
import * as tf from '@tensorflow/tfjs-core';

/** The native module. A communicator is a group of ranks and a ticket a collective that was started: both numbers. */
export interface NativeNccl {
  /** NCCL's version; opens it, and throws where it can't be opened. */
  version(): string;
  /** A name for a new group of ranks: 128 bytes. */
  uniqueId(): Uint8Array;
  /** The name of this process's GPU: 16 bytes that no other GPU has. */
  gpu(): Uint8Array;
  /** Joins the group named `id`. Ends when all ranks have, and all connections are made. */
  join(id: Uint8Array, size: number, rank: number, timeoutSeconds: number): Promise<number>;
  /** A communicator of the ranks that give the same color, in the order of their keys; -1 for a negative color. */
  split(comm: number, color: number, key: number): Promise<number>;
  close(comm: number, abort: boolean): Promise<unknown>;
  /** The ticket of the collective started last, and a name for it in sentences. */
  ticket(comm: number, call: string): number;
  /** TensorFlow's ops from here on come after that collective; the GPU waits, not the caller. */
  wait(comm: number, ticket: number): void;
  /** From here on collectives are timed; the times count from a mark, which the module for the fused ops has made. */
  startTiming(base: number): void;
  /** Ends that. Of each collective that has ended on the GPU: its ticket, and its start and end in milliseconds. */
  stopTiming(): [ticket: number, start: number, end: number][];
  /** Ends when the GPU has done all that TensorFlow was given so far. */
  drained(): Promise<unknown>;
  /** Calls `onTrouble` once, with a sentence, when a collective fails or takes longer than its time. */
  watch(onTrouble: (sentence: string) => void): void;
  /** Ends the process with exit code 1 after so long, if it still runs. */
  endWithin(seconds: number): void;
}

/** Loads the module. Throws UserError where the backend is not TensorFlow on CUDA, or NCCL isn't there. */
export async function loadNccl(): Promise<NativeNccl> {
  if (!onTensorflow() || onTensorflowCpu())
    throw new UserError(`transport=nccl needs device=cuda, but tensors are on ${deviceName()}: use transport=tcp`);
  const found = await findTensorflow({ variant: 'cuda' });
  if ('reason' in found || !found.nccl)
    throw new UserError('transport=nccl is not set up: npx nx run runtime:setup does it, or use transport=tcp');
  const native = createRequire(import.meta.url)(found.nccl) as NativeNccl;
  try {
    native.version();
  } catch (error) {
    throw new UserError(`transport=nccl needs NVIDIA's NCCL: ${messageOf(error)}; install it, or use transport=tcp`);
  }
  return native;
}

/** For messages. */
const deviceName = (): string => (onTensorflow() ? 'cpu' : tf.getBackend() || 'no device');
