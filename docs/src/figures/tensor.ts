/**
 * The figure of tensor parallelism: two products, of which the first is split by columns and the second by rows, with
 * numbers small enough to check by hand.
 *
 *     y_NO = x_NI · W_OIᵀ      column parallel: each rank has some of W's rows, so some of y's columns
 *     z_ND = y_NO · V_DOᵀ      row parallel: each rank has V's columns for its part of y; z is the ranks' sum
 *
 * The layers are tensor-parallel's own, run on ranks of the local transport forward and backward. Only the edge between
 * ranks is wrapped: it notes what goes in and what comes out, and the transport counts the bytes. Numbers are small
 * whole ones, so that no sum is ever rounded and one rank finds the very same.
 */

import { Parameter, partOf } from '@fourfold/ops';
import { allGatherBytes, allReduceBytes, type Operation, type ProcessGroup, spmd } from '@fourfold/process-group';
import { keyOf, randomWords } from '@fourfold/runtime/random';
import { columnParallel, type Edge, replicated, rowParallel, sequenceSplit } from '@fourfold/tensor-parallel';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { joined, type Matrix, type Shown, type Split, transposed } from './matrices.ts';
import { byteText } from './words.ts';

export interface TensorChoice {
  readonly tp: number;
  readonly sequenceParallel: boolean;
}

export interface Sent {
  readonly operation: Operation;
  /** Of rank 0, as the local transport counted them. */
  readonly bytes: number;
  readonly formula: number;
}

export interface Step {
  readonly title: string;
  readonly words: string;
  /** Left to right: what a product multiplies and what it gives, or what an edge gets and what it makes of it. */
  readonly shown: readonly Shown[];
  readonly sent: Sent | undefined;
}

export interface TensorFigure {
  readonly tp: number;
  readonly steps: readonly Step[];
  /** The largest difference of any result from what one rank computes. */
  readonly difference: number;
}

/** Tokens, inputs, outputs of the first product, outputs of the second. */
export const SIZES = { N: 4, I: 4, O: 8, D: 4 };

// ## What the layers do

/** What a rank had and made, in the order in which it happened. */
interface Trace {
  readonly matrices: Readonly<Record<string, Matrix>>;
  readonly edges: readonly { readonly from: Matrix; readonly to: Matrix }[];
  readonly sent: readonly { readonly operation: Operation; readonly bytes: number }[];
}

/** Whole numbers from -2 to 2, that depend on the name alone. */
function wholeNumbers(name: string, rows: number, columns: number): Tensor {
  const words = randomWords(keyOf(1, name), 0, rows * columns);
  return tf.tensor2d(
    Array.from(words, (word) => (word % 5) - 2),
    [rows, columns],
  );
}

const matrixOf = (x: Tensor): Matrix => x.arraySync() as number[][];

/** An edge that notes what it is given and what it gives. */
function noted(edge: Edge, notes: { from: Matrix; to: Matrix }[]): Edge {
  const note =
    (cross: (x: Tensor) => Promise<Tensor>) =>
    async (x: Tensor): Promise<Tensor> => {
      const place = notes.push({ from: [], to: [] }) - 1; // in the order of the calls, not of their ends
      const from = matrixOf(x);
      const result = await cross(x);
      notes[place] = { from, to: matrixOf(result) };
      return result;
    };
  return { gather: note(edge.gather), sum: note(edge.sum) };
}

/** One rank's forward and backward through both layers. */
async function runRank(tp: ProcessGroup, sequenceParallel: boolean): Promise<Trace> {
  const { N, I, O, D } = SIZES;
  tp.recorder.trace = [];
  const edges: { from: Matrix; to: Matrix }[] = [];
  const edge = noted(sequenceParallel && tp.size > 1 ? sequenceSplit(tp) : replicated(tp), edges);
  const place = { index: tp.rank, of: tp.size };
  const own = (whole: Tensor, axis: number) => partOf(whole, { axis, ...place });
  const [x_NI, w_OI, v_DO, dz_ND] = [
    wholeNumbers('x', N, I),
    wholeNumbers('W', O, I),
    wholeNumbers('V', D, O),
    wholeNumbers('dz', N, D),
  ];
  const [w, v] = [Parameter.of('W', own(w_OI, 0)), Parameter.of('V', own(v_DO, 1))];
  const [x, dz] = sequenceParallel ? [own(x_NI, 0), own(dz_ND, 0)] : [x_NI, dz_ND];
  const [y, pullColumns] = await columnParallel(edge, w)(x);
  const [z, pullRows] = await rowParallel(edge, v)(y);
  const dy = await pullRows(dz);
  const dx = await pullColumns(dy);
  const tensors = { x, w: w.value, y, v: v.value, z, dz, dy, dx, dw: w.grad as Tensor, dv: v.grad as Tensor };
  const matrices: Record<string, Matrix> = {};
  for (const [name, tensor] of Object.entries(tensors)) matrices[name] = matrixOf(tensor);
  tf.dispose([x_NI, w_OI, v_DO, dz_ND, x, dz, y, z, dy, dx]);
  for (const parameter of [w, v]) parameter.dispose();
  return { matrices, edges, sent: tp.recorder.trace.map(({ operation, bytes }) => ({ operation, bytes })) };
}

// ## What is shown

export async function tensorFigure({ tp, sequenceParallel }: TensorChoice): Promise<TensorFigure> {
  const ranks = await spmd(tp, (group) => runRank(group, sequenceParallel));
  const [alone] = (await spmd(1, (group) => runRank(group, false))) as [Trace];
  const steps = [
    ...forwardSteps(ranks, sequenceParallel),
    ...rowSteps(ranks, sequenceParallel),
    ...columnSteps(ranks, sequenceParallel),
  ];
  return { tp, steps, difference: differenceFrom(ranks, alone, sequenceParallel) };
}

const partsOf = (ranks: readonly Trace[], name: string): Matrix[] =>
  ranks.map(({ matrices }) => matrices[name] as Matrix);

/** The matrices of a product or an edge, of those that all ranks have alike one. */
function show(ranks: readonly Trace[], name: string, key: string, split: Split): Shown {
  const parts = partsOf(ranks, key);
  return { name, split, parts: split === 'same' ? parts.slice(0, 1) : parts };
}

/** What went into, or came out of, the i-th use of the edge. */
function atEdge(ranks: readonly Trace[], i: number, side: 'from' | 'to', name: string, split: Split): Shown {
  const parts = ranks.map(({ edges }) => (edges[i] as Trace['edges'][number])[side]);
  return { name, split, parts: split === 'same' ? parts.slice(0, 1) : parts };
}

/** The first call of rank 0 that isn't told yet, if ranks call each other at all, beside the formula. */
function sentIn(ranks: readonly Trace[], call: number, columns: number): Sent | undefined {
  const sent = ranks[0]?.sent[call];
  if (!sent) return undefined;
  const spec = { shape: [SIZES.N, columns], dtype: 'float32' } as const;
  const n = ranks.length;
  const part = { ...spec, shape: [SIZES.N / n, columns] };
  const gathered = allGatherBytes(part, n); // (n-1)/n of the whole, as a reduce-scatter sends
  return { ...sent, formula: sent.operation === 'allReduce' ? allReduceBytes(spec, 0, n) : gathered };
}

function forwardSteps(ranks: readonly Trace[], sequence: boolean): Step[] {
  const tokens: Split = sequence ? 'rows' : 'same';
  return [
    {
      title: 'f, forward',
      words: sequence
        ? 'Each rank keeps some of the tokens, and gathers all of them.'
        : 'Every rank has the same x: nothing travels.',
      shown: [atEdge(ranks, 0, 'from', 'x', tokens), atEdge(ranks, 0, 'to', 'x', 'same')],
      sent: sequence ? sentIn(ranks, 0, SIZES.I) : undefined,
    },
    {
      title: 'Column parallel: y = x · Wᵀ',
      words: 'Each rank has some of the columns of Wᵀ, and computes those of y alone.',
      shown: [
        atEdge(ranks, 0, 'to', 'x', 'same'),
        transposed(show(ranks, 'W', 'w', 'rows')),
        show(ranks, 'y', 'y', 'columns'),
      ],
      sent: undefined,
    },
    {
      title: 'Row parallel: z = y · Vᵀ',
      words: 'Each rank has the rows of Vᵀ that its columns of y meet. Its product is a part of a sum.',
      shown: [
        show(ranks, 'y', 'y', 'columns'),
        transposed(show(ranks, 'V', 'v', 'columns')),
        atEdge(ranks, 1, 'from', 'part of z', 'partial'),
      ],
      sent: undefined,
    },
    {
      title: 'g, forward',
      words: sequence ? 'The parts are added up, and each rank gets some of the tokens.' : 'The parts are added up.',
      shown: [atEdge(ranks, 1, 'from', 'part of z', 'partial'), show(ranks, 'z', 'z', tokens)],
      sent: sentIn(ranks, sequence ? 1 : 0, SIZES.D),
    },
  ];
}

// Backward goes the same way back. It crosses the edge three times more: g's pullback (2), x for dW (3), f's pullback
// (4), which is on the wire while dW is computed.

function rowSteps(ranks: readonly Trace[], sequence: boolean): Step[] {
  const tokens: Split = sequence ? 'rows' : 'same';
  return [
    {
      title: 'g, backward',
      words: sequence
        ? 'The gradient of a scatter is a gather.'
        : 'Where a sum was taken, all get its gradient: nothing travels.',
      shown: [show(ranks, 'dz', 'dz', tokens), atEdge(ranks, 2, 'to', 'dz', 'same')],
      sent: sequence ? sentIn(ranks, 2, SIZES.D) : undefined,
    },
    {
      title: 'Row parallel, backward: dy = dz · V',
      words: 'Each rank finds the gradient of its own columns of y.',
      shown: [
        atEdge(ranks, 2, 'to', 'dz', 'same'),
        show(ranks, 'V', 'v', 'columns'),
        show(ranks, 'dy', 'dy', 'columns'),
      ],
      sent: undefined,
    },
    {
      title: 'Row parallel, weights: dV = dzᵀ · y',
      words: 'The gradient of each part of V stays where that part is.',
      shown: [
        transposed(atEdge(ranks, 2, 'to', 'dz', 'same')),
        show(ranks, 'y', 'y', 'columns'),
        show(ranks, 'dV', 'dv', 'columns'),
      ],
      sent: undefined,
    },
  ];
}

function columnSteps(ranks: readonly Trace[], sequence: boolean): Step[] {
  return [
    {
      title: 'Column parallel, backward: dx = dy · W',
      words: 'x went to all ranks, so its gradient is a sum over them, of which each finds a part.',
      shown: [
        show(ranks, 'dy', 'dy', 'columns'),
        show(ranks, 'W', 'w', 'rows'),
        atEdge(ranks, 4, 'from', 'part of dx', 'partial'),
      ],
      sent: undefined,
    },
    {
      title: 'f, backward',
      words: `The parts are added up${sequence ? ', and each rank gets some tokens' : ''}, while dW is computed.`,
      shown: [atEdge(ranks, 4, 'from', 'part of dx', 'partial'), show(ranks, 'dx', 'dx', sequence ? 'rows' : 'same')],
      sent: sentIn(ranks, sequence ? 4 : 1, SIZES.I),
    },
    {
      title: 'Column parallel, weights: dW = dyᵀ · x',
      words: sequence
        ? 'Nobody kept all of x, so it is gathered once more. dW stays where W is.'
        : 'The gradient of each part of W stays where that part is.',
      shown: [
        transposed(show(ranks, 'dy', 'dy', 'columns')),
        atEdge(ranks, 3, 'to', 'x', 'same'),
        show(ranks, 'dW', 'dw', 'rows'),
      ],
      sent: sequence ? sentIn(ranks, 3, SIZES.I) : undefined,
    },
  ];
}

// ## Against one rank

function differenceFrom(ranks: readonly Trace[], alone: Trace, sequence: boolean): number {
  const tokens = sequence ? 'rows' : 'same';
  const splits = { y: 'columns', z: tokens, dy: 'columns', dx: tokens, dw: 'rows', dv: 'columns' } as const;
  const differences = Object.entries(splits).flatMap(([name, split]) => {
    const wanted = (alone.matrices[name] as Matrix).flat();
    const whole = joined(partsOf(ranks, name), split).flat();
    return wanted.map((value, i) => Math.abs(value - (whole[i] as number)));
  });
  return Math.max(...differences);
}

export function tensorSummary({ steps }: TensorFigure, at: number): string {
  const { title, words, sent } = steps[at] as Step;
  return `${title}. ${words}${sent ? ` A rank sends ${byteText(sent.bytes)} (${sent.operation}).` : ''}`;
}
