/**
 * Trains in a page: the training loop of @fourfold/train on ranks that are coroutines of this thread, and what it tells
 * of each step.
 *
 *     rank 0   step | between | step | between | ...        between: the page's messages come in, and may pause the run
 *     rank 1   step | count   | step | count   | ...        all others wait for rank 0 in their next collective
 */
import { byteTokenizer, type TokenizedText } from '@fourfold/data';
import type { RunLog } from '@fourfold/metrics';
import { parameterCount } from '@fourfold/model';
import { coordinatesOf, type ProcessGroup, rankCount, type Span, spmd } from '@fourfold/process-group';
import type { Backend } from '@fourfold/runtime';
import type { Setup } from '@fourfold/settings';
import { trainRank } from '@fourfold/train';
import { type Choices, jobOf } from './choices.ts';
import { compared, formulas, type GroupBytes, sentBy } from './traffic.ts';

/** What one stage of the first pipeline did in a step, in milliseconds from the step's begin. */
export interface Lane {
  readonly label: string;
  readonly spans: readonly Span[];
}

/** What a run tells. */
export type News =
  | { readonly kind: 'begun'; readonly parameters: number; readonly tokens: number }
  | { readonly kind: 'step'; readonly step: number; readonly loss: number; readonly tokensPerSecond: number }
  | { readonly kind: 'counted'; readonly step: number; readonly groups: GroupBytes[]; readonly lanes: Lane[] }
  | { readonly kind: 'said'; readonly step: number; readonly text: string }
  | { readonly kind: 'ended'; readonly validation: number };

export interface RunOptions {
  readonly choices: Choices;
  readonly backend: Backend;
  readonly text: TokenizedText;
  readonly tell: (news: News) => void;
  /** Awaited by the first rank after each step. */
  readonly between: () => Promise<void>;
}

/** Runs to the last step. Throws UserError, a sentence, where these choices can't be trained. */
export async function trainInPage({ choices, backend, text, tell, between }: RunOptions): Promise<void> {
  const job = jobOf(choices);
  const setup: Setup = { ...job, backend, text, tokenizer: byteTokenizer, close: text.close };
  tell({ kind: 'begun', parameters: parameterCount(job.shape), tokens: text.train.count });
  const counts = countersOf(setup, await formulas(job), tell);
  const log = logOf(tell);
  const [validation = Number.NaN] = await spmd(rankCount(job.config), (world) => {
    const count = counts(world);
    if (world.rank > 0) return trainRank(setup, world, { between: async () => count() });
    const countAndPass = () => {
      count();
      return between();
    };
    return trainRank(setup, world, { log, between: countAndPass });
  });
  tell({ kind: 'ended', validation });
}

/** Hears the first rank's figures. */
function logOf(tell: RunOptions['tell']): RunLog {
  let last = 0;
  return {
    say: (text) => tell({ kind: 'said', step: last, text }),
    step({ step, loss, tokensPerSecond }) {
      last = step;
      tell({ kind: 'step', step, loss, tokensPerSecond });
    },
    validation() {}, // the last one is the run's result
    close() {},
  };
}

/** For each rank a function to call after a step. With the last rank's call of a step all of it is told. */
function countersOf(setup: Setup, formula: Awaited<ReturnType<typeof formulas>>, tell: RunOptions['tell']) {
  const sent = formula.map((): Record<string, number> => ({}));
  const lanes = new Map<number, Lane>();
  const steps = formula.map(() => 0);
  return ({ rank, recorder }: ProcessGroup) => {
    const { dp, pp, cp, tp } = coordinatesOf(rank, setup.config);
    const isShown = dp + cp + tp === 0;
    if (isShown) recorder.spans = [];
    return () => {
      const step = (steps[rank] ?? 0) + 1;
      steps[rank] = step;
      sent[rank] = sentBy(recorder);
      if (isShown) lanes.set(pp, { label: `pp${pp}`, spans: recorder.spans ?? [] });
      if (isShown) recorder.spans = [];
      if (steps.some((other) => other !== step)) return;
      tell({ kind: 'counted', step, groups: compared(sent, formula, step), lanes: fromZero(inOrder(lanes)) });
    };
  };
}

/** The stages from first to last: they end a step in another order. */
const inOrder = (lanes: ReadonlyMap<number, Lane>): Lane[] =>
  [...lanes].sort(([a], [b]) => a - b).map(([, lane]) => lane);

/** The same with the earliest span's begin at 0. */
function fromZero(lanes: readonly Lane[]): Lane[] {
  const first = Math.min(...lanes.flatMap(({ spans }) => spans.map(({ start }) => start)));
  return lanes.map(({ label, spans }) => ({
    label,
    spans: spans.map(({ name, start, end }) => ({ name, start: start - first, end: end - first })),
  }));
}
