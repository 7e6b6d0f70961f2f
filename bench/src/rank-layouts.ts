/**
 * Layouts of ranks by name, and the work that each is given: as much as compares with one GPU.
 *
 *     dp2                  two ranks, each with sequences of its own
 *     dp2-zero             the same, with AdamW's moments shared out
 *     tp2   tp2-sp         matrices split over two; with sequence parallelism, what is between them too
 *     pp2   pp2-afab       stages; also pp2-interleaved
 *     cp2                  each sequence split over two
 *     tp2-pp2-dp2          eight ranks; 'dp2tp2pp2' is the same
 *
 * One rule for all: a data-parallel rank does the work of the one GPU. So dp multiplies the batch, and what is compared
 * is tokens a second; tp, pp and cp have the batch of the one GPU. A pipeline needs many micro-batches to fill, and a
 * ring long sequences to be worth it: with pp or cp both sides get those.
 */

import { UserError } from '@fourfold/runtime';
import { type Settings, settings as schema } from '@fourfold/settings';

export interface RankLayout {
  /** As the user wrote it. */
  readonly name: string;
  readonly dp: number;
  readonly pp: number;
  readonly cp: number;
  readonly tp: number;
  /** The settings that its words stand for. */
  readonly flags: Partial<Settings>;
}

const WORDS: Readonly<Record<string, Partial<Settings>>> = {
  zero: { zero: true },
  sp: { sequenceParallel: true },
  afab: { ppEngine: 'afab' },
  interleaved: { ppEngine: 'interleaved' },
};

/**
 * Reads a layout's name.
 *
 * @throws UserError where a part of it means nothing, or comes twice
 */
export function layoutOf(name: string): RankLayout {
  const sizes: Record<string, number> = {};
  const flags: Partial<Settings> = {};
  const seen = new Set<string>();
  for (const part of name.match(/(dp|pp|cp|tp)[1-9]\d*|[a-z]+|[^-]/g) ?? ['']) {
    const [, dimension, count] = /^(..)(\d+)$/.exec(part) ?? [];
    const word = dimension ?? part;
    if (seen.has(word)) throw new UserError(`layout ${name}: "${word}" is in it twice: once will do`);
    seen.add(word);
    if (dimension) sizes[dimension] = Number(count);
    else if (WORDS[part]) Object.assign(flags, WORDS[part]);
    else
      throw new UserError(
        `layout ${name}: "${part}" is no part of a name: use dp, pp, cp and tp with numbers, such as tp2-dp4, and ` +
          `then ${Object.keys(WORDS).join(', ')}`,
      );
  }
  return { name, dp: 1, pp: 1, cp: 1, tp: 1, ...sizes, flags };
}

/** What a step of one GPU is, and how it computes. */
export interface Work extends Partial<Settings> {
  /** Sequences of a micro-batch, and their tokens. */
  readonly batch: number;
  readonly seq: number;
  /** Micro-batches of a step where there is a pipeline. */
  readonly micros: number;
  /** Sequences, and their tokens, where they are split. */
  readonly cpBatch: number;
  readonly cpSeq: number;
}

const SUMS = { gradientPrecision: 'float32' } as const; // of many gradients

/** The settings of a run in a layout, as the training command would be given them. */
export function settingsFor({ dp, pp, cp, tp, flags }: RankLayout, work: Work): Settings {
  const { batch, seq, micros, cpBatch, cpSeq, ...how } = work;
  const [microBatchSize, seqLength] = cp > 1 ? [cpBatch, cpSeq] : [batch, seq];
  const gradAccSteps = pp > 1 ? micros : 1;
  const size = { microBatchSize, seqLength, gradAccSteps, ...(gradAccSteps > 1 ? SUMS : {}) };
  return schema.parse({ launcher: 'processes', ppBalance: 'cost', ...how, ...size, dp, pp, cp, tp, ...flags });
}

/** The settings of the one GPU that a layout is held against: with the work of one of its data-parallel ranks. */
export const aloneFor = (config: Settings): Settings => ({
  ...config,
  ...{ dp: 1, pp: 1, cp: 1, tp: 1, zero: false, sequenceParallel: false, ppEngine: '1f1b' },
});

/** The same with the work of the whole layout: the sequences of its steps, and so its losses. */
export const sameBatchAlone = (config: Settings): Settings => ({
  ...aloneFor(config),
  microBatchSize: config.dp * config.microBatchSize,
});

/** 'batch 4, seq 2048', '16 x batch 4, seq 2048'. */
export const workOf = ({ microBatchSize, seqLength, gradAccSteps }: Settings): string =>
  `${gradAccSteps > 1 ? `${gradAccSteps} x ` : ''}batch ${microBatchSize}, seq ${seqLength}`;
