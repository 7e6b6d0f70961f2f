/**
 * Whole tensors out of the parts that ranks hold: rank 0 gets every parameter of the model.
 *
 *     tp: parts side by side along the axis of their split          pp: each stage sends what it has to the first
 *
 * Ranks along dp and cp hold the same weights, so those of dp0 cp0 do the work and the others nothing. One tensor
 * travels at a time: rank 0 needs memory for all, the others for one.
 */
import { kernels, type Parameter } from '@fourfold/ops';
import type { Mesh, ProcessGroup } from '@fourfold/process-group';
import { dtypeOf } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

/** What of a mesh matters here. */
export type Places = Pick<Mesh, 'tp' | 'pp' | 'coordinates'>;

/**
 * Rank 0 gets a tensor of each name, in the order of `shapes`, and owns it; other ranks get an empty map. All ranks
 * call it, with the parameters that they hold.
 *
 * @param shapes  names and whole shapes of all the model's parameters
 * @param tensorOf  what to gather of each: its value or its gradient, of the parameter's shape, all of one dtype; it
 *   stays whose it is
 */
export async function gatherWhole(
  shapes: ReadonlyMap<string, readonly number[]>,
  parameters: readonly Parameter[],
  { tp, pp, coordinates: { dp, cp } }: Places,
  tensorOf: (parameter: Parameter) => Tensor,
): Promise<Map<string, Tensor>> {
  const whole = new Map<string, Tensor>();
  if (dp > 0 || cp > 0) return whole;
  const held = new Map(parameters.map((parameter) => [parameter.name, parameter]));
  const stages = await stagesOf([...shapes.keys()], held, pp);
  const dtype = dtypeOf(tensorOf(parameters[0] as Parameter));
  for (const [name, shape] of shapes) {
    const [stage, parameter] = [stages.get(name) as number, held.get(name)];
    const mine = pp.rank === stage && parameter ? await joined(tensorOf(parameter), parameter, tp) : undefined;
    if (tp.rank > 0) mine?.dispose();
    else if (stage === 0 && mine) whole.set(name, mine);
    else if (mine) {
      await pp.sendReceive([{ send: mine, to: 0 }]);
      mine.dispose();
    } else if (pp.rank === 0) {
      const [received] = await pp.sendReceive([{ receiveFrom: stage, like: { shape, dtype } }]);
      whole.set(name, received as Tensor);
    }
  }
  return whole;
}

/** The first stage that holds each parameter. */
async function stagesOf(
  names: readonly string[],
  held: ReadonlyMap<string, Parameter>,
  pp: ProcessGroup,
): Promise<Map<string, number>> {
  const mine = tf.tensor2d([names.map((name) => (held.has(name) ? 1 : 0))], [1, names.length], 'int32');
  const all = await pp.allGather(mine, 0);
  await pp.drained();
  const rows = (await all.array()) as number[][];
  tf.dispose([mine, all]);
  return new Map(names.map((name, i) => [name, rows.findIndex((row) => row[i] === 1)]));
}

/** All ranks' parts side by side; where several ranks in a row hold the same part, one of each. */
async function joined(part: Tensor, { shard }: Parameter, tp: ProcessGroup): Promise<Tensor> {
  if (!shard) return part.clone();
  const all = await tp.allGather(part, shard.axis);
  const [copies, length] = [tp.size / shard.of, part.shape[shard.axis] as number];
  if (copies === 1) return all;
  const different = Array.from({ length: shard.of }, (_, i) =>
    kernels.slice(all, shard.axis, i * copies * length, length),
  );
  const whole = kernels.concat(different, shard.axis);
  tf.dispose([all, ...different]);
  return whole;
}
