/**
 * Whether the whole model on a device gives PyTorch's numbers: a part of bench:gpu-check.
 *
 *     npx nx run bench:gpu-check -- --only model
 *
 * Four tiny Llamas, with what transformers and PyTorch compute of them in float32 (tools/fixtures/llama.py): logits,
 * loss, the gradient of every parameter, and the losses before each of ten AdamW steps. The device computes them by its
 * fused ops, twice over, and the bits must be the same; in bfloat16 also with gradients kept in bfloat16. How far it
 * may be, in parts of a tensor's largest element, or of a loss:
 *
 *                float32   bfloat16
 *     logits     1e-5      2^-5       A bfloat16 has 8 bits: a rounding is up to 2^-9 of a number. Weights, activations
 *                                     and logits are rounded, some 20 times in a row. By chance these add up to
 *                                     2^-9 · √20 = 2^-7, and the worst of 5,000 logits has a few times that.
 *     gradients  2e-6      2^-4       as many roundings again on the way back
 *     loss       1e-6      2^-9       the mean of 48 tokens, whose errors have either sign
 *     losses     1e-6      2^-7       AdamW's first steps go by a gradient's sign, however small it is: where it is
 *                                     smaller than its error the step goes anywhere, and the loss falls less
 *
 * float32's are those of packages/model/test/model.test.ts. bfloat16's were tried on the CPU, with ten roundings
 * of the weights: at most 2.4e-2, 4.3e-2, 5.2e-4 and 3.1e-3.
 */
import { forward, freePlace, type Llama, type LlamaOptions, lossAndGradients, placeOf } from '@fourfold/model';
import { batchOf, FIXTURES, type Fixture, fixtureModel, readFixture } from '@fourfold/model/fixtures';
import { kernels } from '@fourfold/ops';
import { AdamW } from '@fourfold/optim';
import { type DType, read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { relative, sameBits, worstOf } from './difference.ts';

const DTYPES = ['float32', 'bfloat16'] as const;
/** Of weights and activations, and of gradients. */
const KINDS = [
  ['float32', 'float32'],
  ['bfloat16', 'float32'],
  ['bfloat16', 'bfloat16'],
] as const;
const BOUNDS: Readonly<Record<(typeof DTYPES)[number], Figures<number>>> = {
  float32: { logits: 1e-5, loss: 1e-6, gradients: 2e-6, losses: 1e-6 },
  bfloat16: { logits: 2 ** -5, loss: 2 ** -9, gradients: 2 ** -4, losses: 2 ** -7 },
};

/** What a model computes, or how far that is from the reference. */
interface Figures<T> {
  readonly logits: T;
  readonly loss: T;
  readonly gradients: T;
  readonly losses: T;
}

const KEYS = ['logits', 'loss', 'gradients', 'losses'] as const;
/** Tensors; gradients in the order of the model's parameters, and each loss as one. */
type Numbers = Figures<Float32Array[]>;

const numbersOf = async (x: tf.Tensor): Promise<Float32Array> => Float32Array.from(await read(x));

async function logitsOf(model: Llama, fixture: Fixture): Promise<Float32Array> {
  const [inputs_BT, targets_BT] = batchOf(fixture);
  const place = placeOf(model, ...(inputs_BT.shape as [number, number]));
  const [x_ND, pull] = await forward(model, inputs_BT, place);
  pull.drop();
  freePlace(place);
  const logits_NV = kernels.matmul(x_ND, model.head?.value as tf.Tensor, 'nt');
  const numbers = await numbersOf(logits_NV);
  tf.dispose([inputs_BT, targets_BT, x_ND, logits_NV]);
  return numbers;
}

/** The losses before each of as many AdamW steps as the fixture has; the gradients are the first step's. */
async function trained(model: Llama, fixture: Fixture): Promise<Pick<Numbers, 'losses' | 'gradients'>> {
  const batch = batchOf(fixture);
  const optimizer = new AdamW(model.parameters, { beta1: 0.9, beta2: 0.95, weightDecay: 0.1 });
  const losses: number[] = [];
  let gradients: Float32Array[] | undefined;
  for (const _ of fixture.losses) {
    const loss = await lossAndGradients(model, ...batch);
    losses.push((await numbersOf(loss))[0] as number);
    gradients ??= await Promise.all(model.parameters.map(({ grad }) => numbersOf(grad as tf.Tensor)));
    optimizer.update(1e-3);
    loss.dispose();
  }
  optimizer.dispose();
  tf.dispose(batch);
  return { losses: losses.map((loss) => Float32Array.of(loss)), gradients: gradients as Float32Array[] };
}

async function compute(fixture: Fixture, how: LlamaOptions): Promise<{ numbers: Numbers; names: string[] }> {
  const model = fixtureModel(fixture, how);
  const logits = [await logitsOf(model, fixture)];
  const { losses, gradients } = await trained(model, fixture);
  const names = model.parameters.map(({ name }) => name);
  for (const parameter of model.parameters) parameter.dispose();
  return { numbers: { logits, loss: losses.slice(0, 1), gradients, losses }, names };
}

/** The same from the fixture's file. */
function reference({ logits, loss, losses, gradients }: Fixture, names: readonly string[]): Numbers {
  if (`${[...gradients.keys()].sort()}` !== `${names.toSorted()}`)
    throw new Error(`the reference has gradients of ${[...gradients.keys()]}, and the model of ${names}`);
  const each = losses.map((value) => Float32Array.of(value));
  const all = names.map((name) => gradients.get(name)?.data as Float32Array);
  return { logits: [logits.data], loss: [Float32Array.of(loss)], gradients: all, losses: each };
}

/** Holds one model against its reference: a line to print, and whether it is near enough. */
export async function checkModel(
  name: string,
  fixture: Fixture,
  dtype: (typeof DTYPES)[number],
  gradDtype: DType = 'float32',
): Promise<{ line: string; good: boolean }> {
  const how = { dtype, gradDtype };
  const [ours, again] = [await compute(fixture, how), await compute(fixture, how)];
  const theirs = reference(fixture, ours.names);
  const same = KEYS.every((key) => sameBits(ours.numbers[key], again.numbers[key]));
  const figures = KEYS.map((key) => {
    const [error, bound] = [worstOf(ours.numbers[key], theirs[key], relative), BOUNDS[dtype][key]];
    const said = bound < 2 ** -10 ? bound.toExponential() : `2^${Math.log2(bound)}`;
    return { good: error <= bound, words: `${key} ${error.toExponential(1)} (${said})` };
  });
  const good = same && figures.every((figure) => figure.good);
  const words = figures.map((figure) => figure.words).join('   ');
  const title = `${name}, ${dtype}${gradDtype === 'float32' ? '' : ', gradients too'}`.padEnd(33);
  return { line: `${good ? 'ok  ' : 'FAIL'} ${title} ${words}${same ? '' : '   other bits!'}`, good };
}

/** Checks all of them, a line each; whether each is near enough. */
export async function checkModels(say: (line: string) => void): Promise<boolean[]> {
  say("\nmodels against PyTorch's numbers: largest difference (bound)");
  const results: boolean[] = [];
  for (const name of FIXTURES) {
    const fixture = await readFixture(name);
    for (const [dtype, gradDtype] of KINDS) {
      const { line, good } = await checkModel(name, fixture, dtype, gradDtype);
      say(line);
      results.push(good);
    }
  }
  return results;
}
