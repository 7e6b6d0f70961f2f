/**
 * Data parallelism: every rank has the same weights and its own sequences, and all make the same step.
 *
 *     rank 0    sequences 0 1    g₀ ─┐
 *                                    ├─  g = mean(g₀, g₁)  ─  the same update on both, so the weights stay equal
 *     rank 1    sequences 2 3    g₁ ─┘
 *
 * The loss is a mean over tokens, so its gradient is the mean of what ranks with equally many tokens find. Context
 * parallel ranks have other tokens with the same weights too: the group to average over is dp x cp, `mesh.dpCp`.
 *
 * Three versions, each for a reason:
 *
 *     naive      one all-reduce for each parameter, when backward is done          many small messages; all waited for
 *     buckets    gradients travel 25 MB at a time, while backward goes on below    a few large ones, hidden
 *     ZeRO-1     reduce-scatter; update the own part; all-gather                   moments take 1/n of the memory
 *
 * All of them send 2 (n-1)/n of the gradients' bytes a rank and step: an all-reduce is a reduce-scatter and an
 * all-gather (in ZeRO of the weights' bytes). And all of them compute the same bits, except that ZeRO adds up the
 * squares of the gradient's norm in another order: where clipping acts, steps differ by a rounding.
 *
 * Li et al., "PyTorch distributed" (2020); Rajbhandari et al., "ZeRO" (2020).
 */
import { flatten, kernels, Parameter, rangesIn, sizeOf, unflatten } from '@fourfold/ops';
import { allReduceBytes, type ProcessGroup } from '@fourfold/process-group';
import { BYTES, cast, type DType, UserError } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';

/** One rank's part in making all ranks' gradients one. */
export interface DataParallel {
  /** What this rank updates: the parameters themselves or, with ZeRO, its part of each bucket, of one dimension. */
  readonly updated: readonly Parameter[];
  /** Ends when the mean gradients are in `updated`. After backward, by every rank. An Error where one is missing. */
  reduced(): Promise<void>;
  /** Ends when all parameters have their new values. To be called after the update, by every rank. */
  gathered(): Promise<void>;
  /** The whole mean gradients after `reduced`, in float32: new tensors, which the caller owns. Every rank calls it. */
  wholeGradients(): Promise<ReadonlyMap<Parameter, Tensor>>;
  /** Bytes of tensors that this rank sends in a step, by the group's name: what a run's counts are held against. */
  bytes(): Readonly<Record<string, number>>;
}

// ## The naive version

/** One all-reduce after the other, when backward is done, of [shape] in gradDtype. The means replace the gradients. */
export function naiveDataParallel(parameters: readonly Parameter[], group: ProcessGroup): DataParallel {
  for (const parameter of parameters) parameter.replicas *= group.size;
  const reduced = async () => {
    for (const parameter of parameters) {
      const mean = await group.allReduce(gradientOf(parameter), 'mean');
      parameter.clearGradient();
      parameter.grad = await addedUp(mean, parameter.partial);
    }
  };
  const bytes = () =>
    sumByGroup(parameters.flatMap(({ shape, partial, gradDtype }) => sentBy([group, partial], shape, gradDtype)));
  const wholeGradients = async () => held(parameters);
  return { updated: parameters, reduced, gathered: async () => {}, wholeGradients, bytes };
}

/** Each parameter's gradient in float32: new tensors. */
const held = (parameters: readonly Parameter[]): Map<Parameter, Tensor> =>
  new Map(parameters.map((parameter) => [parameter, cast(gradientOf(parameter), 'float32')]));

/** What a parameter has accumulated; where it has nothing, backward never came to it. */
function gradientOf({ name, grad }: Parameter): Tensor {
  if (!grad) throw new Error(`${name} has no gradient to reduce`);
  return grad;
}

// A rank may have seen only a part of what a parameter did: of a norm its own tokens (sequence parallelism), of a key
// head its own queries, of a tied embedding one of its two uses. Such parameters name the ranks that must add up.

/** The sum over `partial`, if there is such a group. Takes x over. */
async function addedUp(x: Tensor, partial: ProcessGroup | undefined): Promise<Tensor> {
  if (!partial) return x;
  const sum = await partial.allReduce(x);
  x.dispose();
  return sum;
}

// ## Buckets
//
// Backward finishes the last layers first, so buckets are filled from the last parameter on. A bucket holds parameters
// of one kind alone, those that are treated alike afterwards, so that it can be added up and updated as one piece.

/** How gradients are put together and reduced. */
export interface BucketOptions {
  /** Gradients that each parameter's layer will accumulate in a step: gradAccSteps. One more throws an Error. */
  readonly backwards: number;
  /** Bytes of a full bucket (default 25 MiB). A larger parameter has one of its own. */
  readonly bucketBytes?: number;
  /** ZeRO-1 (default false). Parameters must have their first values, all of one dtype. */
  readonly zero?: boolean;
}

/**
 * Reduces gradients bucket by bucket, each as soon as its last one of the step has been accumulated: so on the last
 * micro-batch, whatever the order in which a pipeline runs them.
 *
 * @throws UserError for ZeRO with one rank, which has nothing to share
 */
export function bucketedDataParallel(
  parameters: readonly Parameter[],
  group: ProcessGroup,
  { backwards, bucketBytes = 25 * 2 ** 20, zero = false }: BucketOptions,
): DataParallel {
  if (zero && group.size === 1) throw new UserError('zero=true shares moments over dp x cp ranks: use dp=2 or more');
  const buckets = fill(parameters, group, bucketBytes).map((some) => new Bucket(some, group, backwards, zero));
  const dtype = zero ? (parameters[0] as Parameter).dtype : 'float32';
  const bytes = bucketedBytes(parameters, group, { bucketBytes, zero, dtype });
  if (!zero) for (const parameter of parameters) parameter.replicas *= group.size;
  return {
    updated: zero ? buckets.map(({ shard }) => shard as Parameter) : parameters,
    reduced: async () => {
      for (const bucket of buckets) await bucket.averaged(); // says what is missing before other groups are called
      for (const bucket of buckets) await bucket.handOut();
    },
    gathered: async () => {
      for (const bucket of buckets)
        await bucket.gathered(
          ({ value }) => value,
          (parameter, value) => {
            parameter.value.dispose();
            parameter.value = value;
          },
        );
    },
    wholeGradients: async () => {
      const whole = zero ? new Map<Parameter, Tensor>() : held(parameters);
      for (const bucket of buckets)
        await bucket.gathered(gradientOf, (parameter, gradient) => {
          whole.set(parameter, cast(gradient, 'float32'));
          gradient.dispose();
        });
      return whole;
    },
    bytes: () => bytes,
  };
}

/** Parameters in backward's order, in lists of one kind and at most so many bytes. */
function fill(parameters: readonly Parameter[], group: ProcessGroup, bucketBytes: number): Parameter[][] {
  const travelling = parameters.filter(({ partial }) => group.size > 1 || partial); // alone, most have nowhere to go
  const lists: Parameter[][] = [];
  for (const parameter of travelling.reverse()) {
    const last = lists.findLast(([one]) => isAlike(one as Parameter, parameter)); // earlier ones are full
    if (last && bytesOf([...last, parameter]) <= bucketBytes) last.push(parameter);
    else lists.push([parameter]);
  }
  return lists;
}

/** Whether two may share a bucket: what happens to the one after reducing happens to the other. */
const isAlike = (a: Parameter, b: Parameter): boolean =>
  a.decays === b.decays && a.gradDtype === b.gradDtype && a.partial === b.partial && a.replicas === b.replicas;

/** Bytes of their gradients. */
const bytesOf = (parameters: readonly Parameter[]): number =>
  parameters.reduce((sum, { shape, gradDtype }) => sum + BYTES[gradDtype] * sizeOf(shape), 0);

/** Elements of a bucket: with ZeRO zeros are added, so that its n parts are equally long. */
function lengthOf(parameters: readonly Parameter[], n: number, zero: boolean): number {
  const elements = parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return zero ? Math.ceil(elements / n) * n : elements;
}

/** Some parameters whose gradients travel as one tensor: counted as they arrive, and sent off with the last of them. */
class Bucket {
  /** With ZeRO: the part that this rank updates, 1/n of all elements, as a parameter of one dimension. */
  readonly shard: Parameter | undefined;
  readonly #parameters: readonly Parameter[];
  readonly #group: ProcessGroup;
  readonly #partial: ProcessGroup | undefined;
  readonly #size: number;
  /** How many gradients of each parameter a step accumulates, and how many are still to come, where any are. */
  readonly #expected: ReadonlyMap<Parameter, number>;
  #missing: Map<Parameter, number>;
  #reducing: Promise<Tensor> | undefined;
  #mean: Tensor | undefined;

  constructor(parameters: readonly Parameter[], group: ProcessGroup, backwards: number, zero: boolean) {
    const [first] = parameters as [Parameter];
    this.#parameters = parameters;
    this.#group = group;
    this.#partial = first.partial;
    this.#size = lengthOf(parameters, group.size, zero);
    this.#expected = new Map(parameters.map((parameter) => [parameter, parameter.uses * backwards]));
    this.#missing = new Map(this.#expected);
    if (zero) this.shard = this.#makeShard(first);
    for (const parameter of parameters) parameter.onAccumulate = () => this.#arrived(parameter);
  }

  /** A gradient is there; with the last one the bucket goes on its way. */
  #arrived(parameter: Parameter): void {
    const missing = this.#missing.get(parameter);
    if (!missing)
      throw new Error(`${parameter.name} gets more than ${this.#expected.get(parameter)} gradients in a step`);
    if (missing > 1) this.#missing.set(parameter, missing - 1);
    else this.#missing.delete(parameter);
    if (this.#missing.size > 0) return;
    const flat = this.#flatten(gradientOf);
    this.#reducing = this.shard ? this.#group.reduceScatter(flat, 0, 'mean') : this.#group.allReduce(flat, 'mean');
    flat.dispose();
    for (const one of this.#parameters) one.clearGradient();
  }

  /** Ends when the mean is there: mostly at once, since it was on its way while backward went on. */
  async averaged(): Promise<void> {
    if (!this.#reducing) throw new Error(`gradients are missing: ${this.#stillMissing()}`);
    this.#mean = await this.#reducing;
    this.#reducing = undefined;
    this.#missing = new Map(this.#expected);
  }

  #stillMissing(): string {
    return [...this.#missing].map(([one, left]) => `${left} of ${this.#expected.get(one)} of ${one.name}`).join(', ');
  }

  /** Gives the gradients back to the parameters, or to this rank's part of them. */
  async handOut(): Promise<void> {
    const flat = await addedUp(this.#mean as Tensor, this.#partial);
    if (this.shard) this.shard.grad = flat;
    else
      this.#unflatten(flat, (parameter, grad) => {
        parameter.grad = grad;
      });
  }

  /** ZeRO: everybody's part, of values or of gradients, to everybody. */
  async gathered(partOf: (shard: Parameter) => Tensor, give: (of: Parameter, whole: Tensor) => void): Promise<void> {
    if (this.shard) this.#unflatten(await this.#group.allGather(partOf(this.shard), 0), give);
  }

  #makeShard({ name, decays, gradDtype, partial, replicas }: Parameter): Parameter {
    const [length, { rank }] = [this.#size / this.#group.size, this.#group];
    const flat = this.#flatten(({ value }) => value);
    const own = kernels.slice(flat, 0, rank * length, length);
    const shard = Parameter.of(`part ${rank} from ${name}`, own, gradDtype);
    flat.dispose();
    return Object.assign(shard, {
      decays,
      partial,
      replicas,
      ranges: rangesIn(this.#parameters, rank * length, length),
    });
  }

  /** One tensor of one dimension out of one of each parameter; at the end zeros where parts must be equally long. */
  #flatten(tensorOf: (parameter: Parameter) => Tensor): Tensor {
    return flatten(this.#parameters.map(tensorOf), this.#size);
  }

  /** The way back. Takes `flat` over. */
  #unflatten(flat: Tensor, give: (parameter: Parameter, piece: Tensor) => void): void {
    const shapes = this.#parameters.map(({ shape }) => shape);
    for (const [i, piece] of unflatten(flat, shapes).entries()) give(this.#parameters[i] as Parameter, piece);
    flat.dispose();
  }
}

// ## What it costs

/**
 * Bytes that a rank sends in a step, by group, if its gradients travel in such buckets; `dtype` is that of the weights,
 * which ZeRO gathers. The parameters need no values: a plan asks too.
 */
export function bucketedBytes(
  parameters: readonly Parameter[],
  group: ProcessGroup,
  { bucketBytes, zero, dtype }: { bucketBytes: number; zero: boolean; dtype: DType },
): Record<string, number> {
  const sent = fill(parameters, group, bucketBytes).flatMap((some): Sent[] => {
    const { partial, gradDtype } = some[0] as Parameter;
    const length = lengthOf(some, group.size, zero);
    if (!zero) return sentBy([group, partial], [length], gradDtype);
    const part = length / group.size;
    const bytes = (group.size - 1) * part * (BYTES[gradDtype] + BYTES[dtype]);
    return [{ group: group.name, bytes }, ...sentBy([partial], [part], gradDtype)];
  });
  return sumByGroup(sent);
}

/** What goes to one group. */
interface Sent {
  readonly group: string;
  readonly bytes: number;
}

/** Bytes of an all-reduce in each of the groups. */
const sentBy = (groups: readonly (ProcessGroup | undefined)[], shape: readonly number[], dtype: DType): Sent[] =>
  groups.flatMap((group) =>
    group ? [{ group: group.name, bytes: allReduceBytes({ shape, dtype }, group.rank, group.size) }] : [],
  );

function sumByGroup(sent: readonly Sent[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { group, bytes } of sent) sums[group] = (sums[group] ?? 0) + bytes;
  return sums;
}
