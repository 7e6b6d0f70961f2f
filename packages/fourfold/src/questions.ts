/**
 * The questions of `npx fourfold create-config` on a terminal. A layout that can't be is asked for again, with the
 * sentence that says why.
 */
import type { Readable, Writable } from 'node:stream';
import { cancel, intro, isCancel, log, outro, select, text } from '@clack/prompts';
import { MODELS, RECOMPUTE } from '@fourfold/model';
import { UserError } from '@fourfold/runtime/errors';

export type Answers = Record<string, string | number>;

/** The terminal, if it isn't this process's. */
export interface Terminal {
  readonly input?: Readable;
  readonly output?: Writable;
}

/** A number of at least 1, or one of some values, of which the first is the usual one. */
interface Question {
  readonly key: string;
  readonly message: string;
  readonly usual?: number;
  readonly values?: readonly string[];
}

// biome-ignore format: a table
const MODEL: readonly Question[] = [
  { key: 'model', message: 'Model', values: Object.keys(MODELS) },
  { key: 'tokenizer', message: 'Tokenizer', values: ['bytes', 'gpt2'] },
  { key: 'data', message: 'Text', values: ['moby-dick', 'sotu'] },
  { key: 'steps', message: 'Steps', usual: 400 },
];
// biome-ignore format: a table
const LAYOUT: readonly Question[] = [
  { key: 'seqLength', message: 'Tokens of a sequence', usual: 1024 },
  { key: 'dp', message: 'Data-parallel ranks', usual: 1 },
  { key: 'tp', message: 'Tensor-parallel ranks', usual: 1 },
  { key: 'pp', message: 'Pipeline stages', usual: 1 },
  { key: 'cp', message: 'Context-parallel ranks', usual: 1 },
  { key: 'microBatchSize', message: 'Sequences of a micro-batch', usual: 1 },
  { key: 'gradAccSteps', message: 'Micro-batches of a step', usual: 1 },
  { key: 'precision', message: 'Weights and activations', values: ['float32', 'bfloat16'] },
  { key: 'recompute', message: 'Computed again in backward', values: RECOMPUTE },
];

/** What was answered, once `check` has nothing against it; undefined if the user gave up. */
export async function askForSettings(
  check: (answers: Answers) => Promise<unknown>,
  terminal: Terminal = {},
): Promise<Answers | undefined> {
  intro('A configuration for a training run', terminal);
  const model = await askAll(MODEL, terminal, {});
  let layout = model && (await askAll(LAYOUT, terminal, {}));
  while (model && layout) {
    const problem = await problemOf(() => check({ ...model, ...layout }));
    if (problem === undefined) {
      outro('It can be run.', terminal);
      return { ...model, ...layout };
    }
    log.error(problem, terminal);
    layout = await askAll(LAYOUT, terminal, layout);
  }
  cancel('Nothing was written.', terminal);
  return undefined;
}

async function problemOf(check: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await check();
    return undefined;
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/** Answers to all, or undefined. What was said `before` is what Enter repeats. */
async function askAll(
  questions: readonly Question[],
  terminal: Terminal,
  before: Answers,
): Promise<Answers | undefined> {
  const answers: Answers = {};
  for (const question of questions) {
    const answer = await ask(question, terminal, before[question.key]);
    if (answer === undefined) return undefined;
    answers[question.key] = answer;
  }
  return answers;
}

async function ask({ key, message, usual, values }: Question, terminal: Terminal, before?: string | number) {
  const title = `${message} (${key})`;
  if (values) {
    const options = values.map((value) => ({ value }));
    const initialValue = String(before ?? values[0]);
    const chosen = await select({ message: title, options, initialValue, ...terminal });
    return isCancel(chosen) ? undefined : chosen;
  }
  const defaultValue = String(before ?? usual);
  const validate = (said: string | undefined) =>
    !said || /^[1-9]\d{0,8}$/.test(said) ? undefined : 'Use a whole number of at least 1';
  const said = await text({ message: title, placeholder: defaultValue, defaultValue, validate, ...terminal });
  return isCancel(said) ? undefined : Number(said);
}
