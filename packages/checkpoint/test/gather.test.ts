import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Parameter, partOf, type Shard } from '@fourfold/ops';
import { createMesh, type Layout, type Mesh, type ProcessGroup, rankCount, spmd } from '@fourfold/process-group';
import { cast, dtypeOf, keyOf, normals, openBackend, read } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { gatherWhole } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-gather-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => openBackend({ device: 'cpu', threads: 2 }));

// ## A Llama's parameters, as the dimensions cut them
//
// Written out here, since a checkpoint knows no model: 3 layers, D 16, 4 heads of 4, 2 key and value heads, F 24, V 32.

const [LAYERS, D, KV_HEADS] = [3, 16, 2];

/** Where a parameter is (a layer, or an end of the model), its whole shape, and the axis along which tp splits it. */
interface Known {
  readonly place: number | 'first' | 'last';
  readonly shape: readonly number[];
  readonly axis?: number;
}

function knownOf(tied: boolean): Map<string, Known> {
  const known = new Map<string, Known>([['model.embed_tokens.weight', { place: 'first', shape: [32, D], axis: 0 }]]);
  for (let place = 0; place < LAYERS; place++) {
    const add = (name: string, shape: readonly number[], axis?: number) =>
      known.set(`model.layers.${place}.${name}.weight`, { place, shape, ...(axis === undefined ? {} : { axis }) });
    add('input_layernorm', [D]);
    add('self_attn.q_proj', [D, D], 0);
    add('self_attn.k_proj', [8, D], 0);
    add('self_attn.v_proj', [8, D], 0);
    add('self_attn.o_proj', [D, D], 1);
    add('post_attention_layernorm', [D]);
    add('mlp.gate_proj', [24, D], 0);
    add('mlp.up_proj', [24, D], 0);
    add('mlp.down_proj', [D, 24], 1);
  }
  known.set('model.norm.weight', { place: 'last', shape: [D] });
  if (!tied) known.set('lm_head.weight', { place: 'last', shape: [32, D], axis: 0 });
  return known;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, side) => product * side, 1);
const numbersOf = (name: string, shape: readonly number[]) => normals(keyOf(1, name), 0, sizeOf(shape), 1);
const shapesOf = (known: ReadonlyMap<string, Known>) => new Map([...known].map(([name, { shape }]) => [name, shape]));

/** The ranks along pp that hold a parameter: layers are dealt out in runs, and a tied embedding is at both ends. */
function stagesOf({ place }: Known, pp: number, tied: boolean): number[] {
  if (place === 'first') return tied ? [0, pp - 1] : [0];
  return [place === 'last' ? pp - 1 : Math.floor((place * pp) / LAYERS)];
}

const isKv = (name: string) => /[kv]_proj/.test(name);

/** What of a parameter a rank along tp holds: where there are more ranks than key and value heads, several the same. */
function shardOf(name: string, { axis }: Known, tp: Layout['tp'], index: number): Shard | undefined {
  if (axis === undefined || tp === 1) return undefined;
  const copies = isKv(name) ? Math.max(1, tp / KV_HEADS) : 1;
  return { axis, index: Math.floor(index / copies), of: tp / copies };
}

/** The parameters that a rank holds, in an order of its own. */
function parametersOf(known: ReadonlyMap<string, Known>, { layout, coordinates }: Mesh, tied: boolean): Parameter[] {
  const mine = [...known].filter(([, one]) => stagesOf(one, layout.pp, tied).includes(coordinates.pp));
  return mine.reverse().map(([name, one]) => {
    const parameter = new Parameter(name, one.shape);
    parameter.shard = shardOf(name, one, layout.tp, coordinates.tp);
    const whole = tf.tensor(numbersOf(name, one.shape), [...one.shape]);
    parameter.value = partOf(whole, parameter.shard);
    whole.dispose();
    return parameter;
  });
}

const dispose = (parameters: readonly Parameter[]): void => {
  for (const parameter of parameters) parameter.dispose();
};

// ## Gathering

/** What rank 0 gathered, by name; what each rank sent along pp; and what it counted in all. */
async function gathered(world: ProcessGroup, layout: Layout, tied: boolean) {
  const known = knownOf(tied);
  const mesh = await createMesh(world, layout);
  const parameters = parametersOf(known, mesh, tied);
  world.recorder.reset();
  const whole = await gatherWhole(shapesOf(known), parameters, mesh, ({ value }) => value);
  const totals = world.recorder.totals();
  const tensors: { name: string; shape: number[]; numbers: Float32Array }[] = [];
  for (const [name, tensor] of whole) {
    tensors.push({ name, shape: tensor.shape, numbers: (await read(tensor)) as Float32Array });
    tensor.dispose();
  }
  dispose(parameters);
  return { tensors, totals, place: mesh.coordinates };
}

/** 1 to 48 ranks, each layout with and without an embedding that is the head too. */
const layouts = [1, 2, 3].flatMap((pp) =>
  [1, 2, 4].flatMap((tp) =>
    [1, 2].flatMap((dp) => [1, 2].flatMap((cp) => [false, true].map((tied) => ({ dp, pp, cp, tp, tied })))),
  ),
);

test.each(layouts)('dp$dp x pp$pp x cp$cp x tp$tp, tied $tied: rank 0 gets the weights of one rank', async (layout) => {
  const { tied, pp } = layout;
  const [first, ...others] = await expectNoLeak(() =>
    spmd(rankCount(layout), (world) => gathered(world, layout, tied)),
  );
  const expected = [...knownOf(tied)].map(([name, { shape }]) => ({ name, shape, numbers: numbersOf(name, shape) }));
  expect(first?.tensors).toEqual(expected);
  for (const { tensors, totals, place } of others) {
    expect(tensors).toEqual([]);
    if (place.dp > 0 || place.cp > 0) expect(totals).toEqual([]);
    // Each whole tensor travels once, from the first of the stages that hold it; rank 0's own stay where they are.
    const own = [...knownOf(tied).values()].filter((one) => stagesOf(one, pp, tied)[0] === place.pp);
    const bytes = own.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
    const isSender = place.dp + place.cp + place.tp === 0;
    const sent = totals.find(({ operation }) => operation === 'sendReceive');
    expect(sent?.bytes ?? 0).toBe(isSender ? bytes : 0);
  }
});

test('layers that lie on the ranks in turns, as in an interleaved pipeline, come in the order of names', async () => {
  const known = new Map(['a', 'b', 'c', 'd'].map((name) => [name, { place: 'first' as const, shape: [2, 3] }]));
  const results = await spmd(2, async (world) => {
    const mesh = await createMesh(world, { dp: 1, pp: 2, cp: 1, tp: 1 });
    const mine = [...known].filter((_, i) => i % 2 === world.rank);
    const parameters = mine.map(([name, { shape }]) => Parameter.of(name, tf.tensor(numbersOf(name, shape), shape)));
    const whole = await gatherWhole(shapesOf(known), parameters, mesh, ({ value }) => value);
    const numbers = await Promise.all([...whole].map(async ([name, x]) => [name, await read(x)]));
    tf.dispose([...whole.values()]);
    dispose(parameters);
    return numbers;
  });
  expect(results).toEqual([[...known].map(([name, { shape }]) => [name, numbersOf(name, shape)]), []]);
});

test.each(['float32', 'bfloat16'] as const)('what is asked for is gathered, in its own dtype: %s', async (dtype) => {
  const shape = [4, 6];
  const run = () =>
    spmd(4, async (world) => {
      const mesh = await createMesh(world, { dp: 1, pp: 2, cp: 1, tp: 2 });
      const { pp, tp } = mesh.coordinates;
      const names = ['ours', 'theirs'];
      const parameter = new Parameter(names[pp] as string, shape);
      parameter.shard = { axis: 1, index: tp, of: 2 };
      parameter.value = tf.zeros([4, 3]);
      const asked = tf.tidy(() => {
        const whole = tf.tensor(numbersOf(parameter.name, shape), shape);
        return cast(partOf(whole, parameter.shard), dtype);
      });
      const shapes = new Map(names.map((name) => [name, shape]));
      const whole = await gatherWhole(shapes, [parameter], mesh, () => asked);
      const found = await Promise.all([...whole].map(async ([name, x]) => [name, dtypeOf(x), await read(x)]));
      tf.dispose([asked, ...whole.values()]);
      parameter.dispose();
      return found;
    });
  const [found, ...others] = await expectNoLeak(run);
  const rounded = async (name: string) => {
    const x = tf.tidy(() => cast(tf.tensor(numbersOf(name, shape), shape), dtype));
    const numbers = await read(x);
    x.dispose();
    return numbers;
  };
  expect(found).toEqual([
    ['ours', dtype, await rounded('ours')],
    ['theirs', dtype, await rounded('theirs')],
  ]);
  expect(others).toEqual([[], [], []]);
});

test('one rank gets tensors of its own: freeing them leaves the parameters as they were', async () => {
  const [values] = await expectNoLeak(() =>
    spmd(1, async (world) => {
      const mesh = await createMesh(world, { dp: 1, pp: 1, cp: 1, tp: 1 });
      const parameter = Parameter.of('w', tf.tensor1d([1, 2, 3]));
      const whole = await gatherWhole(new Map([['w', [3]]]), [parameter], mesh, ({ value }) => value);
      tf.dispose([...whole.values()]);
      const values = Array.from(await read(parameter.value));
      parameter.dispose();
      return values;
    }),
  );
  expect(values).toEqual([1, 2, 3]);
});
