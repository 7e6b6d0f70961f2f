/**
 * The memory of one rank at the peak of a step, by what takes it.
 *
 *     weights       2 or 4 bytes a parameter           a share of the model: 1 / (pp · tp) of it, about
 *     moments       2 or 4 bytes, twice                ZeRO-1: 1 / (dp · cp) of them
 *     masters       4 bytes, beside bfloat16 weights   likewise
 *     gradients     4 or 2 bytes                       all of them only at the end of backward
 *     activations   what blocks keep for backward      of all micro-batches that a rank holds at once
 *     moment        what is there for a moment         logits, a block's own gradients
 *
 * The peak is at one of three places. At the head, with the activations of all blocks and no gradients yet, if there
 * was no micro-batch before; at the top block's backward; or at the bottom block's, with all gradients. Each is counted
 * and the largest is the answer. What kernels use for themselves isn't counted.
 *
 * With ZeRO-1 a bucket that has been reduced keeps 1 / (dp · cp) of its gradients. How many have been when the peak
 * comes depends on the network, so a plan counts on none: a run may hold less, never more for that.
 */
import { keptBytes, keptOfBlock } from '@fourfold/metrics';
import { LOSS_CHUNK_BYTES, lossChunks } from '@fourfold/ops';
import { warmUp } from '@fourfold/pipeline-parallel';
import { BYTES } from '@fourfold/runtime';
import { chunksOf, pipelineShape, tokenRanksOf } from '@fourfold/settings';
import type { Part } from './stages.ts';
import type { Job } from './traffic.ts';

/** Bytes at the peak, by what takes them. */
export interface Memory {
  /** What is trained. */
  readonly weights: number;
  /** AdamW's two running means. */
  readonly moments: number;
  /** float32 masters of bfloat16 weights. */
  readonly masters: number;
  /** Gradients that are there at the peak. */
  readonly gradients: number;
  /** What blocks keep for backward, at the peak. */
  readonly activations: number;
  /** What is there for a moment: logits, a block's own gradients. */
  readonly moment: number;
  /** Where the peak is: 'head', 'top block' or 'bottom block'. */
  readonly peak: string;
  /** All six of them. */
  readonly total: number;
}

/** A place of the step where the peak may be. */
type Place = Pick<Memory, 'gradients' | 'activations' | 'moment' | 'peak'>;

/** The sizes that one micro-batch has on a rank. */
function sizesOf({ config, shape }: Job) {
  const { tp, cp, microBatchSize: batch, seqLength, precision, recompute, device } = config;
  const { dim, heads, kvHeads, ffn, headDim } = shape;
  const split = { heads: heads / tp, kvHeads: Math.max(1, kvHeads / tp), ffn: ffn / tp };
  const fused = device === 'cuda' || precision === 'float32';
  const tokenRanks = tokenRanksOf(config);
  const size = { dim, headDim, ...split, batch, seqLength: seqLength / cp, precision, recompute, fused, tokenRanks };
  const tokens = batch * size.seqLength;
  return { size, tokens, element: BYTES[precision], vector: (tokens * dim * BYTES[precision]) / tokenRanks };
}
type Sizes = ReturnType<typeof sizesOf>;

/** Of rank `rank` of the pipeline, from 0, whose part this is: its bytes at the peak of a step. */
export function memoryOf(job: Job, part: Part, rank: number): Memory {
  const { precision, moments, masterWeights, zero, dp, cp } = job.config;
  const { parameters } = part;
  const updated = zero ? parameters / (dp * cp) : parameters;
  const state = {
    weights: parameters * BYTES[precision] + (zero ? updated * BYTES[precision] : 0), // ZeRO's part lies in one piece
    moments: 2 * BYTES[moments] * updated,
    masters: precision === 'bfloat16' && masterWeights ? 4 * updated : 0,
  };
  const places = placesOf(job, part, rank);
  const bytesOf = ({ gradients, activations, moment }: Place) => gradients + activations + moment;
  const peak = places.reduce((a, b) => (bytesOf(b) > bytesOf(a) ? b : a));
  return { ...state, ...peak, total: state.weights + state.moments + state.masters + bytesOf(peak) };
}

/** How many micro-batches' forwards of all its stages a rank holds at most at once; of several chunks a fraction. */
export function inFlight({ config }: Job, rank: number): number {
  const all = config.gradAccSteps * chunksOf(config);
  return Math.min(all, warmUp(pipelineShape(config), rank) + 1) / chunksOf(config);
}

function placesOf(job: Job, { stages, parameters }: Part, rank: number): Place[] {
  const { config } = job;
  const sizes = sizesOf(job);
  const held = inFlight(job, rank);
  const blocks = stages.reduce((sum, stage) => sum + stage.blocks, 0);
  const hasHead = stages.some((stage) => stage.hasHead);
  const ofOne = blocks * keptOfBlock(sizes.size);
  const ends = hasHead ? losses(job, sizes) * (held - 1) : 0; // forward computes the loss's gradients, and keeps them
  const activations = held * ofOne + ends;
  const gradients = BYTES[config.gradientPrecision] * parameters;
  const before = config.gradAccSteps > held ? gradients : 0; // from micro-batches whose backward is over
  const stream = 3 * sizes.vector; // the residual stream, its gradient, and what is added to it
  const top = {
    peak: 'top block',
    gradients: before,
    activations,
    moment: stream + blockMoment(job, sizes, before > 0),
  };
  const alone = BYTES[config.gradientPrecision] * (job.shape.vocabulary / config.tp) * job.shape.dim;
  const places = [
    top,
    {
      peak: 'bottom block',
      gradients,
      activations: (held - 1) * (ofOne / stages.length) + keptOfBlock(sizes.size),
      moment: stream + blockMoment(job, sizes, before > 0) + bucketMoment(job, alone),
    },
  ];
  if (!hasHead) return places;
  top.gradients = Math.max(before, alone); // those of the head are the first
  return [
    ...places,
    { peak: 'head', gradients: before, activations, moment: stream + headMoment(job, sizes, before > 0) },
  ];
}

/** What the loss of one micro-batch keeps until backward: its gradients by x and by its weights. */
function losses({ shape, config }: Job, { tokens, element }: Sizes): number {
  return tokens * shape.dim * element + (BYTES[config.gradientPrecision] * shape.vocabulary * shape.dim) / config.tp;
}

/**
 * At the head: the normalized x, a chunk of logits, over which their gradient is written, dx and dw. On a CPU of two
 * chunks' dw and their sum each lies for itself; a GPU adds where the sum lies. And so it is with those before.
 */
function headMoment(job: Job, { tokens, element, vector, size }: Sizes, adds: boolean): number {
  const { config, shape } = job;
  const rows = shape.vocabulary / config.tp;
  const onGpu = config.device === 'cuda';
  const chunks = lossChunks(tokens, rows, LOSS_CHUNK_BYTES[onGpu ? 'gpu' : 'cpu']);
  const [, length] = chunks[0] as [number, number];
  const logits = length * rows * element;
  const whole = tokens * shape.dim * element;
  const gathered = size.tokenRanks > 1 ? whole : 0;
  const dw = (chunks.length > 1 ? 4 : BYTES[config.gradientPrecision]) * rows * shape.dim; // chunks' are added up
  const several = chunks.length > 1 && !onGpu ? 3 : 1;
  const loss = vector + gathered + whole + Math.max(logits + several * dw, adds ? 3 * dw : 0);
  return chunks.length > 1 ? Math.max(loss, vector + gathered + 2 * whole + dw) : loss;
}

/** What one block's backward has beside what all blocks keep: at SwiGLU, at its weights, or in attention. */
function blockMoment({ config }: Job, { size, tokens, element, vector }: Sizes, adds: boolean): number {
  const { ffn, heads, kvHeads, headDim, dim } = size;
  const full = keptBytes({ ...size, recompute: 'none' });
  const kept = keptOfBlock(size);
  const gathered = size.tokenRanks > 1 ? tokens * dim * element : 0;
  const mlp = 2 * tokens * ffn * element;
  const several = adds && config.device !== 'cuda' ? 2 : 1; // a CPU's gradient, and its sum with those before
  const gradient = BYTES[config.gradientPrecision];
  const dw = gradient * 2 * ffn * dim * several;
  const all = (heads + 2 * kvHeads) * headDim * tokens;
  const ring = config.cp > 1 ? 4 * all + 2 * (4 + element) * 2 * kvHeads * headDim * tokens : 0;
  const attention =
    element * (all + heads * headDim * tokens) +
    ring +
    scratchOf(config, size) +
    gradient * (heads + 2 * kvHeads) * headDim * dim * several;
  const weights = vector + dw - element * ffn * tokens; // gate, up and their product are gone, their gradient is there
  const moments = [full.mlp + mlp, full.mlp + gathered + weights, gathered + attention];
  return full.attention - kept + Math.max(...moments);
}

/**
 * What cuDNN needs to add up attention's gradient in the same order every time: some 2 bytes for each pair of tokens
 * and each of the heads that go at once, as many as 2 GiB allow, one at least.
 */
function scratchOf({ device, deterministic }: Job['config'], { batch, heads, seqLength }: Sizes['size']): number {
  if (device !== 'cuda' || !deterministic) return 0;
  const ofHead = 2 * batch * seqLength * seqLength;
  return ofHead * Math.min(heads, Math.max(1, Math.floor(2 ** 31 / ofHead)));
}

/** Buckets whose gradients travel: one as it goes and one as it comes back. */
function bucketMoment({ config: { dp, cp, bucketMegabytes } }: Job, largest: number): number {
  return dp * cp > 1 ? Math.max(bucketMegabytes * 2 ** 20, largest) : 0;
}
