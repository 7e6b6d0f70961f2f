/**
 * What a reader can choose of the run in the page, and the settings that come of it.
 *
 *     BATCH sequences a step  =  dp x micro-batches x sequences of a micro-batch
 *
 * Whatever the layout, a step has the same sequences, and so the same loss.
 */
import { byteTokenizer } from '@fourfold/data';
import type { LlamaConfig } from '@fourfold/model';
import { UserError } from '@fourfold/runtime';
import { checkSettings, type Settings, settings, shapeOf } from '@fourfold/settings';

export interface Choices {
  readonly dp: number;
  readonly pp: number;
  readonly cp: number;
  readonly tp: number;
  readonly micros: number;
  readonly engine: Settings['ppEngine'];
  readonly zero: boolean;
  readonly sequenceParallel: boolean;
  readonly learningRate: number;
}

/** Sixteen ranks. */
export const FIRST: Choices = {
  dp: 2,
  pp: 2,
  cp: 2,
  tp: 2,
  micros: 2,
  engine: '1f1b',
  zero: true,
  sequenceParallel: false,
  learningRate: 0.004,
};

/** How many ranks a dimension may have. tp=3 is there to be refused: it divides no heads. */
export const SIZES = { dp: [1, 2, 4], pp: [1, 2, 4], cp: [1, 2, 4], tp: [1, 2, 3, 4] } as const;
export const MICROS = [1, 2, 4] as const;
export const RATES = [0.001, 0.002, 0.004, 0.008] as const;

/** Sequences of a step, in every layout. */
export const BATCH = 8;

/**
 * A Llama that a page can train: 0.2 million parameters. The output has weights of its own: which letter follows which
 * is then a product of two matrices, and learnt in the first fifty steps.
 */
const SIZE = { model: 'nano', layers: 4, dim: 64, heads: 4, kvHeads: 4, ffn: 160, tied: false, seqLength: 64 };

/**
 * A long warm-up: AdamW's first steps are as long for a gradient of rounding errors as for a large one. Twenty short
 * steps keep layouts, which round differently, on one curve.
 */
const RUN = { steps: 300, warmupSteps: 20, beta2: 0.98, evalSequences: 16 };
const SAMPLE = { prompt: 'The whale ', sampleEvery: 25, sampleTokens: 80, temperature: 0.7 };

/** The run's settings, as the training command has them. */
export function settingsOf({ micros, engine, ...choices }: Choices): Settings {
  const microBatchSize = BATCH / (choices.dp * micros);
  if (!Number.isInteger(microBatchSize))
    throw new UserError(
      `dp=${choices.dp} x ${micros} micro-batches does not divide the ${BATCH} sequences of a step: use fewer of one`,
    );
  const layout = { ...choices, microBatchSize, gradAccSteps: micros, ppEngine: engine };
  return settings.parse({ ...SIZE, ...RUN, ...SAMPLE, ...layout, evalEvery: 0, device: 'wasm' });
}

/** The same with the model's shape. Throws a sentence where the packages can't train so. */
export function jobOf(choices: Choices): { config: Settings; shape: LlamaConfig } {
  const config = settingsOf(choices);
  const shape = shapeOf(config, byteTokenizer);
  checkSettings(config, shape);
  return { config, shape };
}

/** What the packages say against these choices; nothing where they can be trained. */
export function refusalOf(choices: Choices): string | undefined {
  try {
    jobOf(choices);
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** 'dp2 × pp2 × cp2 × tp2, 1f1b, ZeRO-1' */
export function labelOf({ dp, pp, cp, tp, engine, micros, zero, sequenceParallel }: Choices): string {
  const extras = [
    pp > 1 && engine,
    micros > 1 && `${micros} micro-batches`,
    zero && 'ZeRO-1',
    sequenceParallel && 'sequence-parallel',
  ];
  return [`dp${dp} × pp${pp} × cp${cp} × tp${tp}`, ...extras.filter((extra) => extra !== false)].join(', ');
}

/** What decides a run's losses; all the rest is layout. */
export const sameRun = (a: Choices, b: Choices): boolean => a.learningRate === b.learningRate;
