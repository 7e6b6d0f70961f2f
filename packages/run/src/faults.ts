/**
 * Numbers that are none: which rank had them, and in which tensor.
 *
 * A step's numbers are read when its update is on the way, and its gradients are gone by then. But the moments tell: a
 * norm that is NaN clips nothing, one that is infinite makes numbers 0 and infinities NaN, so an update leaves NaN
 * where the gradient was no number, and there alone.
 */
import { rangesOf } from '@fourfold/ops';
import { gatherObjects } from '@fourfold/process-group';
import { read, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Rank } from './rank.ts';

/** A step's numbers, of which some are none. */
export interface Numbers {
  /** From 1. */
  readonly step: number;
  /** Over all ranks, in nats a token. */
  readonly loss: number;
  /** Over all parameters and ranks. */
  readonly gradNorm: number;
  /** What this rank brought into the step's sums: its loss first. Taken over. */
  readonly own: Tensor;
}

/** The error of a run whose loss or gradient is no number: returned. All ranks call it, before they update again. */
export async function nonFinite(rank: Rank, { step, loss, gradNorm, own }: Numbers): Promise<UserError> {
  const { world, label } = rank.mesh;
  await world.drained();
  const [ownLoss] = await read(own);
  own.dispose();
  const name = label ? `rank ${world.rank} [${label}]` : `rank ${world.rank}`;
  const mine = { name, isLossFinite: Number.isFinite(ownLoss), tensor: await firstNonFinite(rank) };
  const all = await gatherObjects(world, mine);
  const culprit = all.find(({ isLossFinite }) => !isLossFinite) ?? all.find(({ tensor }) => tensor);
  const what = Number.isFinite(loss)
    ? `the gradient's norm of step ${step} is ${gradNorm}`
    : `the loss of step ${step} is ${loss}`;
  const tensor = culprit?.tensor ?? all.find(({ tensor }) => tensor)?.tensor;
  const where = tensor ? `first in the gradient of ${tensor}` : 'though no single gradient is';
  return new UserError(`${what} on ${culprit?.name ?? 'all ranks together'}, ${where}: use a smaller learningRate`);
}

/** The first parameter, in the order in which backward makes gradients, whose running mean has what is no number. */
async function firstNonFinite({ data, optimizer }: Rank): Promise<string | undefined> {
  const { updated } = data;
  const inBackwardsOrder = updated.some(({ ranges }) => ranges) ? updated : updated.toReversed(); // ZeRO's are already
  for (const parameter of inBackwardsOrder) {
    const values = await read(optimizer.stateOf(parameter).m);
    for (const { of, from, to, at } of rangesOf(parameter))
      if (!values.subarray(at, at + to - from).every(Number.isFinite)) return of.name;
  }
  return undefined;
}
