import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type Action,
  bubble,
  pipelineBytes,
  type Shape,
  stageLengths,
  timetable,
  warmUp,
} from '../src/pipeline-parallel.ts';
import { mostInFlight } from './helpers.ts';

const engine = fc.constantFrom<Shape['engine']>('afab', '1f1b', 'interleaved', 'forward');
const shapes = fc.record({
  engine,
  pp: fc.integer({ min: 1, max: 8 }),
  chunks: fc.integer({ min: 1, max: 4 }),
  micros: fc.integer({ min: 1, max: 20 }),
});
/** Chunks take micro-batches in groups of pp. */
const isWhole = ({ pp, chunks, micros }: Shape): boolean => chunks === 1 || micros % pp === 0;

const column = (shape: Shape, rank: number): Action[] =>
  timetable(shape).flatMap((tick) => (tick[rank] ? [tick[rank]] : []));
const kindsOf = ({ engine }: Shape): Action['kind'][] => (engine === 'forward' ? ['forward'] : ['forward', 'backward']);

test('every rank takes every micro-batch through each of its chunks once, forward and backward', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const { pp, chunks, micros } = shape;
      const expected = kindsOf(shape).flatMap((kind) =>
        Array.from({ length: micros * chunks }, (_, i) => `${kind} ${i % micros} ${Math.floor(i / micros)}`),
      );
      for (let rank = 0; rank < pp; rank++) {
        const actions = column(shape, rank).map(({ kind, micro, chunk }) => `${kind} ${micro} ${chunk}`);
        expect(actions.sort()).toEqual(expected.sort());
      }
      for (const tick of timetable(shape)) expect(tick.length).toBe(pp);
    }),
  );
});

test('nothing runs before what it needs: the stage before it, and backward the one after it', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const { pp, chunks, micros } = shape;
      const last = pp * chunks - 1;
      const at = new Map<string, number>();
      for (const [i, tick] of timetable(shape).entries())
        for (const [rank, action] of tick.entries())
          if (action) at.set(`${action.kind} ${action.micro} ${action.chunk * pp + rank}`, i);
      const tickOf = (kind: Action['kind'], micro: number, stage: number) =>
        at.get(`${kind} ${micro} ${stage}`) ?? Number.NaN;
      for (let micro = 0; micro < micros; micro++) {
        for (let s = 1; s <= last; s++)
          expect(tickOf('forward', micro, s)).toBeGreaterThan(tickOf('forward', micro, s - 1));
        if (shape.engine === 'forward') continue;
        expect(tickOf('backward', micro, last)).toBeGreaterThan(tickOf('forward', micro, last));
        for (let s = 0; s < last; s++)
          expect(tickOf('backward', micro, s)).toBeGreaterThan(tickOf('backward', micro, s + 1));
      }
    }),
  );
});

test('a rank holds no more than one micro-batch above its warm-up, and exactly that many if there are enough', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const { pp, chunks, micros } = shape;
      for (let rank = 0; rank < pp; rank++) {
        const [held, most] = [mostInFlight(column(shape, rank)), Math.min(micros * chunks, warmUp(shape, rank) + 1)];
        expect(held).toBeLessThanOrEqual(most);
        if (isWhole(shape)) expect(held).toBe(most);
      }
    }),
  );
});

test('stage s of 1F1B holds pp - s micro-batches, of AFAB all of them', () => {
  fc.assert(
    fc.property(shapes, ({ pp, micros }) => {
      for (let rank = 0; rank < pp; rank++) {
        const held = (engine: Shape['engine']) => mostInFlight(column({ engine, pp, chunks: 1, micros }, rank));
        expect(held('1f1b')).toBe(Math.min(micros, pp - rank));
        expect(held('interleaved')).toBe(Math.min(micros, pp - rank)); // one chunk: there is nothing to interleave
        expect(held('afab')).toBe(micros);
      }
    }),
  );
});

test('filling and draining take pp - 1 ticks each, and the bubble is what they are of all', () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const { pp, chunks, micros } = shape;
      const groups = chunks === 1 ? micros : Math.ceil(micros / pp) * pp; // of one that isn't full a part is idle
      const ticks = timetable(shape);
      expect(ticks.length).toBe(kindsOf(shape).length * (groups * chunks + pp - 1));
      const busy = ticks.flat().filter((action) => action !== undefined).length;
      if (isWhole(shape)) expect(1 - busy / (pp * ticks.length)).toBeCloseTo(bubble(shape), 12);
    }),
  );
});

test('the bubble of four stages and eight micro-batches is 3/11, with two chunks 3/19', () => {
  expect(bubble({ engine: '1f1b', pp: 4, chunks: 1, micros: 8 })).toBeCloseTo(3 / 11, 15);
  expect(bubble({ engine: 'interleaved', pp: 4, chunks: 2, micros: 8 })).toBeCloseTo(3 / 19, 15);
});

/** A rank's line in a picture: '.' where it waits between two actions. */
function line(engine: Shape['engine'], rank: number): string {
  const ticks = timetable({ engine, pp: 4, chunks: 1, micros: 4 }).map((tick) => tick[rank]);
  const sign = ({ kind, micro }: Action) => (kind === 'forward' ? '1234' : 'abcd')[micro];
  const [first, last] = [ticks.findIndex((action) => action), ticks.findLastIndex((action) => action)];
  return ticks
    .map((action, i) => (action ? sign(action) : i < first || i > last ? ' ' : '.'))
    .join(' ')
    .trimEnd();
}

test('the picture at the top of the file is what the timetable says', () => {
  const source = readFileSync(new URL('../src/pipeline-parallel.ts', import.meta.url), 'utf8');
  const lines = [0, 1, 2, 3].map((rank) => {
    const [afab, oneF] = [line('afab', rank).padEnd(27), line('1f1b', rank)];
    const name = (text: string) => (rank === 0 ? text : '').padEnd(8);
    return ` *     ${name('AFAB')}${afab}        ${name('1F1B')}${oneF}`;
  });
  expect(source).toContain(`${lines.join('\n')}\n`);
});

test('two chunks a rank: a group of pp micro-batches passes through one, then through the other', () => {
  const ticks = timetable({ engine: 'interleaved', pp: 2, chunks: 2, micros: 4 });
  const sign = (a: Action | undefined) => (a ? `${(a.kind === 'forward' ? '1234' : 'abcd')[a.micro]}${a.chunk}` : ' .');
  expect([0, 1].map((rank) => ticks.map((tick) => sign(tick[rank])).join(' '))).toEqual([
    '10 20 11 21 30 a1 40 b1 31 a0 41 b0  . c1  . d1 c0 d0',
    ' . 10 20 11 a1 21 b1 30 a0 40 b0 31 c1 41 d1 c0 d0  .',
  ]);
});

// ## Bytes

test('a rank sends an activation and a gradient of each chunk and micro-batch; an end stage one', () => {
  const many = shapes.filter(({ pp }) => pp > 1);
  fc.assert(
    fc.property(many, fc.constantFrom('float32' as const, 'bfloat16' as const), (shape, dtype) => {
      const { engine, pp, chunks, micros } = shape;
      for (let rank = 0; rank < pp; rank++) {
        const activations = (rank === pp - 1 ? chunks - 1 : chunks) * micros;
        const gradients = engine === 'forward' ? 0 : (rank === 0 ? chunks - 1 : chunks) * micros;
        const bytes = (activations + gradients) * 6 * 32 * (dtype === 'float32' ? 4 : 2);
        expect(pipelineBytes(shape, rank, { shape: [6, 32], dtype })).toBe(bytes);
      }
    }),
  );
});

test('1F1B: an inner stage sends 2 m activations, the ends m, a single rank none', () => {
  const bytes = (pp: number, rank: number) =>
    pipelineBytes({ engine: '1f1b', pp, chunks: 1, micros: 5 }, rank, { shape: [10], dtype: 'float32' });
  expect([0, 1, 2].map((rank) => bytes(3, rank))).toEqual([5 * 40, 10 * 40, 5 * 40]);
  expect(bytes(1, 0)).toBe(0);
});

// ## Stages

const counts = fc
  .record({ stages: fc.integer({ min: 1, max: 12 }), more: fc.integer({ min: 0, max: 40 }) })
  .map(({ stages, more }) => ({ stages, layers: stages + more }));
const total = (lengths: readonly number[]): number => lengths.reduce((a, b) => a + b, 0);
const slowest = (lengths: readonly number[], head: number): number =>
  Math.max(...lengths.map((length, i) => (i === lengths.length - 1 ? length + head : length)));

test('every layer is on one stage, every stage has one, and without a head no stage has two more than another', () => {
  fc.assert(
    fc.property(counts, fc.double({ min: 0, max: 20, noNaN: true }), ({ layers, stages }, head) => {
      for (const lengths of [stageLengths(layers, stages), stageLengths(layers, stages, head)]) {
        expect(lengths.length).toBe(stages);
        expect(total(lengths)).toBe(layers);
        expect(Math.min(...lengths)).toBeGreaterThanOrEqual(1);
      }
      const even = stageLengths(layers, stages);
      expect(Math.max(...even) - Math.min(...even)).toBeLessThanOrEqual(1);
    }),
  );
});

/** All ways to cut a row of layers into stages. */
function cuts(layers: number, stages: number): number[][] {
  if (stages === 1) return [[layers]];
  return Array.from({ length: layers - stages + 1 }, (_, i) => i + 1).flatMap((first) =>
    cuts(layers - first, stages - 1).map((others) => [first, ...others]),
  );
}

test('balanced by cost, the slowest stage does the least that it could: of all cuts none is better', () => {
  for (let layers = 1; layers <= 9; layers++)
    for (let stages = 1; stages <= Math.min(5, layers); stages++)
      for (const head of [0, 0.2, 0.5, 0.8, 1, 1.5, 2.4, 3, 8]) {
        const least = Math.min(...cuts(layers, stages).map((lengths) => slowest(lengths, head)));
        expect(slowest(stageLengths(layers, stages, head), head), `${layers} ${stages} ${head}`).toBe(least);
      }
});

test('the stages of 7, 10 and 30 layers', () => {
  expect(stageLengths(7, 4)).toEqual([2, 2, 2, 1]);
  expect(stageLengths(10, 4)).toEqual([3, 3, 2, 2]);
  expect(stageLengths(4, 2, 0.5)).toEqual([2, 2]);
  expect(stageLengths(30, 8, 8)).toEqual([5, 4, 4, 4, 4, 4, 4, 1]); // SmolLM-135M, whose head is as much as 8 layers
});
