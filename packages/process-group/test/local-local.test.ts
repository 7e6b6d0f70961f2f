/** Whole worlds of coroutines: deterministic, without leaks, and fit for a browser. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import ts from 'typescript';
import { beforeAll, expect, test } from 'vitest';
import { spmd } from '../src/index.ts';
import { f4, numbers, withTensor } from './local-errors.ts';
import { sleep } from './sockets.ts';
import { useTensorflow } from './worlds.ts';

beforeAll(useTensorflow);

// ## Order

/** What happens in a world of four with two groups, in the order in which it happens. */
async function events(): Promise<string[]> {
  const log: string[] = [];
  await spmd(4, async (world) => {
    const say = (what: string) => log.push(`${world.rank} ${what}`);
    const pair = await world.split(world.rank % 2, world.rank, 'pair');
    say('split');
    await withTensor(tf.scalar(world.rank), async (x) => {
      const pending = pair.allReduce(x);
      say('began');
      const all = await world.allReduce(x, 'max');
      say(`all ${await numbers(all)}`);
      say(`pair ${await numbers(await pending)}`);
    });
    if (world.rank > 0) await world.sendReceive([{ receiveFrom: world.rank - 1, like: f4 }]).then(tf.dispose);
    say('received');
    if (world.rank < 3) await withTensor(tf.zeros([4]), (x) => world.sendReceive([{ send: x, to: world.rank + 1 }]));
    say('done');
  });
  return log;
}

test('the same things happen in the same order, run after run', async () => {
  const first = await events();
  expect(first.length).toBe(4 * 6);
  for (let run = 0; run < 5; run++) expect(await events()).toEqual(first);
});

test('two groups’ collectives are under way at once, in another order on each rank', async () => {
  const results = await spmd(4, async (world) => {
    const rows = await world.split(Math.floor(world.rank / 2), world.rank, 'row');
    const columns = await world.split(world.rank % 2, world.rank, 'column');
    return withTensor(tf.scalar(10 ** world.rank), async (x) => {
      const groups = world.rank < 2 ? [rows, columns] : [columns, rows];
      const pending = groups.map((group) => group.allReduce(x));
      const sums = await Promise.all(pending.map(async (sum) => (await numbers(await sum))[0]));
      return world.rank < 2 ? sums : sums.reverse();
    });
  });
  expect(results).toEqual([
    [11, 101],
    [11, 1010],
    [1100, 101],
    [1100, 1010],
  ]);
});

test('inputs may be disposed of as soon as a collective has begun', async () => {
  await expectNoLeak(async () => {
    const results = await spmd(3, async (world) => {
      if (world.rank === 2) await sleep(5); // the others' tensors are gone by now
      const x = tf.fill([3], world.rank + 1);
      const right = (world.rank + 1) % 3;
      const pending = [
        world.allReduce(x),
        world.allGather(x, 0),
        world.reduceScatter(x, 0),
        world.broadcast(x, 1),
        world.allToAll(x, 0),
      ];
      const left = { receiveFrom: (world.rank + 2) % 3, like: { shape: [3], dtype: 'float32' } } as const;
      const message = world.sendReceive([{ send: x, to: right }, left]);
      x.dispose();
      const got = await Promise.all(pending.map(async (one) => numbers(await one)));
      return [...got, await numbers((await message)[0] as Tensor)];
    });
    expect(results[0]).toEqual([[6, 6, 6], [1, 1, 1, 2, 2, 2, 3, 3, 3], [6], [2, 2, 2], [1, 2, 3], [3, 3, 3]]);
  });
});

test('results are each rank’s own: one may free its while others use theirs', async () => {
  await expectNoLeak(async () => {
    const sums = await spmd(3, async (world) => {
      const sum = await withTensor(tf.scalar(world.rank), (x) => world.allReduce(x));
      if (world.rank === 0) sum.dispose();
      await world.barrier();
      return world.rank === 0 ? [3] : numbers(sum);
    });
    expect(sums).toEqual([[3], [3], [3]]);
  });
});

// ## Groups

test('keys order the ranks of a group, and equal keys leave them as they were', async () => {
  const groups = await spmd(6, async (world) => {
    const reversed = await world.split(world.rank % 2, -world.rank, 'reversed');
    const equal = await world.split(world.rank < 4 ? 0 : 1, 9, 'equal');
    const mine = tf.tensor1d([world.rank], 'int32');
    const gathered = await withTensor(mine, (x) => reversed.allGather(x, 0));
    return { at: reversed.rank, reversed: await numbers(gathered), ranks: reversed.ranks, equal: equal.ranks };
  });
  for (const [rank, group] of groups.entries()) {
    const order = rank % 2 === 0 ? [4, 2, 0] : [5, 3, 1];
    const equal = rank < 4 ? [0, 1, 2, 3] : [4, 5];
    expect(group).toEqual({ at: order.indexOf(rank), reversed: order, ranks: order, equal });
  }
});

test('a split of a split speaks of world ranks, and shares one record', async () => {
  const results = await spmd(8, async (world) => {
    const half = await world.split(world.rank >> 2, world.rank, 'half');
    const pair = await half.split(half.rank % 2, -half.rank, 'pair');
    const sum = await withTensor(tf.scalar(2 ** world.rank), (x) => pair.allReduce(x));
    expect(world.recorder).toBe(pair.recorder);
    return { ranks: pair.ranks, rank: pair.rank, sum: (await numbers(sum))[0] };
  });
  for (const [rank, { ranks, sum, rank: place }] of results.entries()) {
    const low = rank - (rank % 4 >= 2 ? 2 : 0);
    expect(ranks).toEqual([low + 2, low]);
    expect(place).toBe(rank === low ? 1 : 0);
    expect(sum).toBe(2 ** low + 2 ** (low + 2));
  }
});

// ## What a group refuses

test('input errors are sentences, and come before anything is counted', async () => {
  await spmd(2, async (world) => {
    const x = tf.zeros([3, 4]);
    const whole = tf.zeros([4], 'int32');
    const flags = tf.zeros([2], 'bool');
    const errorOf = async (call: () => Promise<unknown>) => {
      try {
        await call();
      } catch (error) {
        return (error as Error).message;
      }
      return undefined;
    };
    const to = (peer: number) => () => world.sendReceive([{ send: x, to: peer }]);
    expect(await errorOf(() => world.allGather(x, 2))).toBe('a tensor of shape [3,4] has no axis 2');
    expect(await errorOf(() => world.reduceScatter(x, -1))).toBe('a tensor of shape [3,4] has no axis -1');
    expect(await errorOf(() => world.allToAll(x, 0.5))).toBe('a tensor of shape [3,4] has no axis 0.5');
    const odd = '2 ranks don’t divide axis 0 of float32 [3,4]'.replace('’', "'");
    expect(await errorOf(() => world.reduceScatter(x, 0))).toBe(`reduceScatter: ${odd}`);
    expect(await errorOf(() => world.allToAll(x, 0))).toBe(`allToAll: ${odd}`);
    expect(await errorOf(() => world.broadcast(x, 2))).toBe('broadcast: group world has ranks 0 to 1, not 2');
    expect(await errorOf(to(-1))).toBe('sendReceive: group world has ranks 0 to 1, not -1');
    expect(await errorOf(to(world.rank))).toContain(`rank ${world.rank} of group world can't send to itself`);
    expect(await errorOf(() => world.allReduce(whole, 'mean'))).toBe('the mean of int32 tensors is no int32: use sum');
    expect(await errorOf(() => world.reduceScatter(whole, 0, 'mean'))).toContain('mean of int32');
    expect(await errorOf(() => world.allReduce(flags))).toContain('only float32, bfloat16, int32 travel');
    expect(await errorOf(() => world.allGather(x, 0, [3, 3, 3]))).toMatch(/^allGather of float32 \[3,4\] along axis 0/);
    expect(await errorOf(() => world.allGather(x, 0, [7, 7]))).toMatch(/^allGather of float32 \[3,4\] along axis 0/);
    tf.dispose([x, whole, flags]);
    expect(world.recorder.totals()).toEqual([]);
  });
});

// ## The browser

/** Every module that `file` imports at run time, and those that they import; packages end at their names. */
function importsOf(file: string, seen = new Map<string, string[]>()): Map<string, string[]> {
  if (seen.has(file)) return seen;
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
  const names: string[] = [];
  const visit = (node: ts.Node): void => {
    const from =
      (ts.isImportDeclaration(node) && node.importClause?.phaseModifier !== ts.SyntaxKind.TypeKeyword) ||
      (ts.isExportDeclaration(node) && !node.isTypeOnly)
        ? node.moduleSpecifier
        : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
          ? node.arguments[0]
          : undefined;
    if (from && ts.isStringLiteral(from)) names.push(from.text);
    ts.forEachChild(node, visit);
  };
  visit(source);
  seen.set(file, names);
  const packages = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
  for (const name of names) {
    if (name.startsWith('.')) importsOf(resolve(dirname(file), name), seen);
    const [, folder, part] = /^@fourfold\/([^/]+)(\/.*)?$/.exec(name) ?? [];
    if (!folder) continue;
    const { exports } = JSON.parse(readFileSync(`${packages}/${folder}/package.json`, 'utf8')) as {
      exports: Record<string, string>;
    };
    importsOf(resolve(packages, folder, exports[`.${part ?? ''}`] as string), seen);
  }
  return seen;
}

test('it runs in a browser: nothing that it imports is a module of Node', () => {
  const graph = importsOf(fileURLToPath(new URL('../src/local/local.ts', import.meta.url)));
  const files = [...graph.keys()].map((file) => file.replace(/^.*\/packages\//, ''));
  for (const file of [
    'process-group/src/local/world.ts',
    'process-group/src/process-group.ts',
    'runtime/src/tensorflow.ts',
    'runtime/src/shapes.ts',
  ])
    expect(files).toContain(file);
  const packages = new Set([...graph.values()].flat().filter((name) => !/^(\.|@fourfold\/)/.test(name)));
  expect([...packages]).toEqual(['@tensorflow/tfjs-core']);
});

test('the walk of imports does see modules of Node', () => {
  const graph = importsOf(fileURLToPath(new URL('../src/index.ts', import.meta.url)));
  expect([...graph.values()].flat()).toContain('node:net');
});
