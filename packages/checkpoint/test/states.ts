/** States of a few tensors, cut for ranks in ways that layouts are cut, whose numbers are known. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Parameter, partOf, type Shard } from '@fourfold/ops';
import { type ProcessGroup, spmd } from '@fourfold/process-group';
import { cast, type DType, keyOf, normals } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll } from 'vitest';
import { type About, type SaveOptions, Saver } from '../src/index.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-states-'));
afterAll(() => rmSync(root, { recursive: true }));
let counter = 0;
export const newFolder = (): string => join(root, String(counter++));

const SHAPES: Record<string, number[]> = { embed: [12, 6], rows: [24, 5], columns: [5, 24], norm: [7] };
const AXES: Record<string, number> = { rows: 0, columns: 1, embed: 0 };
export const KINDS = ['weight', 'm', 'v'];

/** All of one kind of a tensor. */
export function wholeOf(kind: string, name: string): Float32Array {
  const size = (SHAPES[name] as number[]).reduce((a, b) => a * b, 1);
  return normals(keyOf(1, `${kind} ${name}`), 0, size);
}

/** What each rank holds: tp parts of each tensor, and of these dp parts of one flat piece if `zero`. */
export interface Cut {
  readonly tp: number;
  readonly dp: number;
  readonly zero?: boolean;
}

/** A rank's parameters, with values of `kind`. The caller owns them. */
export function heldBy(
  rank: number,
  { tp, dp, zero = false }: Cut,
  kind: string,
  dtype: DType = 'float32',
): Parameter[] {
  const parts = Object.keys(SHAPES).map((name) => {
    const axis = AXES[name];
    const shard: Shard | undefined = tp > 1 && axis !== undefined ? { axis, index: rank % tp, of: tp } : undefined;
    const parameter = new Parameter(name, SHAPES[name] as number[]);
    parameter.shard = shard;
    parameter.value = tf.tidy(() => cast(partOf(tf.tensor(wholeOf(kind, name), SHAPES[name]), shard), dtype));
    return parameter;
  });
  return zero ? [flat(parts, Math.floor(rank / tp), dp)] : parts;
}

/** Part `index` of `of` of all parameters in a row, as ZeRO has them. */
function flat(parts: readonly Parameter[], index: number, of: number): Parameter {
  const all = tf.concat1d(parts.map(({ value }) => tf.reshape(value, [-1]) as tf.Tensor1D));
  const length = Math.ceil(all.size / of);
  const padded = tf.pad(all, [[0, length * of - all.size]]);
  const shard = Parameter.of(`part ${index}`, tf.slice(padded, [index * length], [length]));
  let start = -index * length;
  shard.ranges = parts.flatMap((one) => {
    const { size } = one.value;
    const [from, to, at] = [Math.max(-start, 0), Math.min(length - start, size), Math.max(start, 0)];
    start += size;
    return from < to ? [{ of: one, from, to, at }] : [];
  });
  return shard;
}

export const aboutStep = (step: number): About => ({
  ...{ step, updates: step, layout: { dp: 1, pp: 1, cp: 1, tp: 1 }, settings: {}, model: {}, tokens: 9 },
});

/** Opens a saver of a rank's state. */
export function saverOf(world: ProcessGroup, cut: Cut, options: Pick<SaveOptions, 'folder'> & Partial<SaveOptions>) {
  const held = KINDS.map((kind) => heldBy(world.rank, cut, kind));
  const parameters = held[0] as Parameter[];
  const stateOf = (parameter: Parameter): Record<string, Tensor> => {
    const at = parameters.indexOf(parameter);
    return Object.fromEntries(KINDS.map((kind, k) => [kind, (held[k] as Parameter[])[at]?.value as Tensor]));
  };
  return Saver.open(world, { keep: 0, say: () => {}, parameters, stateOf, ...options });
}

/** Saves a cut's state as step 1, by as many ranks. */
export async function savedBy(cut: Cut, folder = newFolder()): Promise<string> {
  await spmd(cut.tp * cut.dp, async (world) => {
    const saver = await saverOf(world, cut, { folder });
    await saver.save(aboutStep(1));
    await saver.close();
  });
  return folder;
}
