import type { Batch } from '@fourfold/data';
import { createLlama, type Llama } from '@fourfold/model';
import { type Layer, pullback } from '@fourfold/ops';
import { spmd } from '@fourfold/process-group';
import { memory, openBackend } from '@fourfold/runtime';
import { expectNoLeak } from '@fourfold/runtime/testing';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { bubble, type Ran, runPipeline, type Shape } from '../src/pipeline-parallel.ts';
import { tiny } from './helpers.ts';

// Stages that sleep instead of computing: all equally long, and side by side even on one processor.

beforeAll(async () => void (await openBackend({ device: 'cpu' })));
afterEach(() => void vi.useRealTimers());

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** y = 1 and dx = 1, after a while. Its pullback keeps nothing. */
const sleeping =
  (forward: number, backward: number): Layer =>
  async (x) => {
    const { shape } = x;
    await sleep(forward);
    const back = async () => {
      await sleep(backward);
      return tf.ones(shape);
    };
    return [tf.ones(shape), pullback([], back)];
  };

interface Sleep {
  /** Milliseconds that a chunk's forward takes; its backward takes two times as long. */
  readonly forward: number;
  /** Each stage's layer, as another that does more. */
  readonly wrap?: (layer: Layer, rank: number) => Layer;
  readonly tokenRanks?: number;
}

/** Stage s of a row of stages: no weights, one layer, tokens that turn into ones, a loss of one. */
function stageOf(s: number, stages: number, layer: Layer, tokenRanks: number): Llama {
  return {
    ...createLlama(tiny),
    parameters: [],
    blocks: [],
    norm: layer,
    embed: s > 0 ? undefined : async (ids) => [tf.ones([ids.size / tokenRanks, tiny.dim]), pullback([], () => {})],
    loss: s < stages - 1 ? undefined : async (x) => [tf.scalar(1), pullback([], () => tf.ones(x.shape))],
    head: undefined,
  };
}

/** Runs a pipeline of sleeping stages; returns what each rank did. */
function run(
  { engine, pp, chunks, micros }: Shape,
  { forward, wrap, tokenRanks = 1 }: Sleep,
): Promise<readonly Ran[][]> {
  const batch: Batch = { inputs_BT: new Int32Array(4), targets_BT: new Int32Array(4), shape: [1, 4] };
  return spmd(pp, async (group) => {
    const layer = sleeping(forward, 2 * forward);
    const mine = wrap ? wrap(layer, group.rank) : layer;
    const parts = Array.from({ length: chunks }, (_, chunk) =>
      stageOf(chunk * pp + group.rank, pp * chunks, mine, tokenRanks),
    );
    const { loss, ran } = await runPipeline(parts, group, Array(micros).fill(batch), { engine, tokenRanks });
    loss.dispose();
    return [...ran];
  });
}

/** The share of the time for which ranks had nothing to do. */
function idleShare(ran: readonly Ran[][]): number {
  const all = ran.flat();
  const elapsed = Math.max(...all.map(({ end }) => end)) - Math.min(...all.map(({ start }) => start));
  const busy = all.reduce((sum, { start, end }) => sum + end - start, 0);
  return 1 - busy / (ran.length * elapsed);
}

// ## By the clock

// 30 to 120 ms against timers that come up to 1 ms late. A machine busy with something else is later than that, which
// is why there is a second attempt.
describe('the bubble that a clock measures is the formula’s', () => {
  test.concurrent.each([
    { engine: 'afab', pp: 4, chunks: 1, micros: 4 },
    { engine: 'afab', pp: 4, chunks: 1, micros: 8 },
    { engine: '1f1b', pp: 4, chunks: 1, micros: 4 },
    { engine: '1f1b', pp: 4, chunks: 1, micros: 8 },
    { engine: 'interleaved', pp: 4, chunks: 2, micros: 4 },
    { engine: 'interleaved', pp: 4, chunks: 2, micros: 8 },
  ] as const)('$engine, $pp stages of $chunks chunks, $micros micro-batches', { retry: 1 }, async (shape) => {
    const idle = idleShare(await run(shape, { forward: 60 / shape.chunks }));
    expect(Math.abs(idle / bubble(shape) - 1)).toBeLessThan(0.1);
  });
});

// ## By a clock without noise
//
// With timers that fire when nothing else is left to do, and a clock that stands still in between, times are exact.

async function runExactly(shape: Shape, options: Sleep): Promise<readonly Ran[][]> {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  try {
    const running = run(shape, options);
    let isRunning = true;
    const outcome = running.finally(() => {
      isRunning = false;
    });
    while (isRunning) await vi.advanceTimersByTimeAsync(10);
    return await outcome;
  } finally {
    vi.useRealTimers();
  }
}

test('AFAB and 1F1B take exactly m + pp - 1 forwards and backwards, whatever m and pp', async () => {
  const sizes = fc.record({ pp: fc.integer({ min: 1, max: 6 }), micros: fc.integer({ min: 1, max: 10 }) });
  const engines = fc.constantFrom('afab' as const, '1f1b' as const);
  await fc.assert(
    fc.asyncProperty(engines, sizes, async (engine, { pp, micros }) => {
      const shape = { engine, pp, chunks: 1, micros };
      const ran = await runExactly(shape, { forward: 10 });
      expect(idleShare(ran)).toBeCloseTo(bubble(shape), 6);
    }),
    { numRuns: 20 },
  );
});

test.each([
  [2, 2, 4],
  [2, 3, 6],
  [3, 2, 6],
  [4, 2, 8],
  [4, 3, 12],
])(
  'pp=%i, %i chunks, m=%i: interleaved 1F1B is idle for as little as the formula says, which is less than 1F1B',
  async (pp, chunks, micros) => {
    const interleaved = { engine: 'interleaved' as const, pp, chunks, micros };
    const idle = idleShare(await runExactly(interleaved, { forward: 10 }));
    expect(idle).toBeCloseTo(bubble(interleaved), 6);
    expect(idle).toBeLessThan(bubble({ ...interleaved, engine: '1f1b', chunks: 1 }));
  },
);

test('an action’s time begins when its message is there: each lasts as long as its stage computes', async () => {
  const ran = await runExactly({ engine: '1f1b', pp: 4, chunks: 1, micros: 6 }, { forward: 10 });
  for (const { kind, start, end } of ran.flat()) expect(end - start).toBeCloseTo(kind === 'forward' ? 10 : 20, 6);
});

// ## What is sent is freed

test('a stage frees what it has sent: in AFAB, whose backward begins last, it holds no output', async () => {
  const shape: Shape = { engine: 'afab', pp: 3, chunks: 1, micros: 8 };
  const outputs: Tensor[][] = [[], [], []];
  const held: number[][] = [[], [], []];
  const wrap = (layer: Layer, rank: number): Layer => {
    return async (x) => {
      const mine = outputs[rank] as Tensor[];
      held[rank]?.push(mine.filter((output) => !output.isDisposed).length);
      const [y, pull] = await layer(x);
      mine.push(y);
      return [y, pull];
    };
  };
  await runExactly(shape, { forward: 10, wrap });
  for (const counts of held) expect(counts).toEqual(Array(8).fill(0));
  expect(outputs.flat().every((output) => output.isDisposed)).toBe(true);
});

test('as many tensors are alive amid a step of 16 micro-batches as of 4, if pullbacks keep none', async () => {
  const mostTensors = async (micros: number) => {
    const before = memory().tensors;
    let most = 0;
    const wrap = (layer: Layer): Layer => {
      return async (x) => {
        const result = await layer(x);
        most = Math.max(most, memory().tensors - before);
        return result;
      };
    };
    await runExactly({ engine: '1f1b', pp: 3, chunks: 1, micros }, { forward: 10, wrap });
    return most;
  };
  const few = await mostTensors(4);
  expect(few).toBeGreaterThan(0);
  // The last stage keeps a loss, one number, for each.
  expect(await mostTensors(16)).toBe(few + 12);
});

test('messages that are received are freed too: a run leaves no tensor', async () => {
  for (const engine of ['afab', '1f1b', 'interleaved', 'forward'] as const)
    await expectNoLeak(() =>
      runExactly({ engine, pp: 3, chunks: engine === 'interleaved' ? 2 : 1, micros: 4 }, { forward: 1 }),
    );
});

test('where tokens are shared out between layers, a message is one rank’s share of them', async () => {
  const shape: Shape = { engine: '1f1b', pp: 2, chunks: 1, micros: 3 };
  const shapes = new Set<string>();
  const wrap = (layer: Layer): Layer => {
    return (x) => {
      shapes.add(`${x.shape}`);
      return layer(x);
    };
  };
  await runExactly(shape, { forward: 1, wrap, tokenRanks: 2 });
  expect([...shapes]).toEqual([`2,${tiny.dim}`]);
});
