/**
 * What a process opens before its ranks begin: the backend, the tokenizer and the text.
 */
import type { ExportPlan } from '@fourfold/checkpoint';
import { checkVocabulary, openCorpus, openTokens, type TokenizedText, type Tokenizer, windowsOf } from '@fourfold/data';
import { type Initialize, type LlamaConfig, parameterCount } from '@fourfold/model';
import { isLaunched, rankCount } from '@fourfold/process-group';
import { type Backend, openBackend, UserError } from '@fourfold/runtime';
import { openModel } from './model.ts';
import { type Settings, TRACED } from './settings.ts';

/** What a run has opened before it allocates anything. */
export interface Setup {
  /** Its settings, with what the model decides filled in. */
  readonly config: Settings;
  /** The model's shape. */
  readonly shape: LlamaConfig;
  /** Where tensors are. */
  readonly backend: Backend;
  /** Text to ids and back. */
  readonly tokenizer: Tokenizer;
  /** The tokens to train on, and those to validate on. */
  readonly text: TokenizedText;
  /** What the model's parameters begin with, where that isn't the seed's numbers. */
  readonly weights?: Initialize | undefined;
  /** What to export at the end, where that is asked for. */
  readonly plan?: ExportPlan | undefined;
  /** Closes its files. */
  readonly close: () => void;
}

/** Opens everything that can be missing or wrong before anything is allocated. Throws UserError for what is. */
export async function prepare(settings: Settings): Promise<Setup> {
  const { config, shape, tokenizer, weights, plan, close } = await openModel(settings);
  const corpus = await openCorpus(config.data);
  const text = await openTokens({ corpus, tokenizer, validationFraction: config.validationFraction });
  checkVocabulary(text, tokenizer, shape.vocabulary);
  for (const part of [text.train, text.validation]) windowsOf(part, config.seqLength); // refuses what is too short
  const { device, log, threads } = config;
  const backend = await openBackend({ device, log, ...(threads ? { threads } : {}) });
  for (const key of ['precision', 'moments'] as const)
    if (config[key] === 'bfloat16' && backend.device === 'wasm')
      throw new UserError(`${key}=bfloat16 needs TensorFlow: use float32, or device cpu or cuda`);
  checkProfile(config, backend);
  const closeAll = () => {
    text.close();
    close();
  };
  return { config, shape, backend, tokenizer, text, weights, plan, close: closeAll };
}

/**
 * A GPU's ops can be timed for one purpose at a time. Throws UserError where there is no GPU, or a trace needs the
 * step.
 */
export function checkProfile({ profile, trace, steps }: Settings, { device, description }: Backend): void {
  if (profile === undefined) return;
  if (device !== 'cuda') throw new UserError(`profile=${profile} takes the times of a GPU, and this is ${description}`);
  const last = steps - TRACED;
  if (trace === undefined || !isLaunched() || profile <= last) return;
  throw new UserError(
    `profile=${profile} is a step of which trace=${trace} takes the times too: ` +
      (last > 0 ? `use a profile of at most ${last}` : `use more than ${TRACED} steps`),
  );
}

/** Says what the run is. */
export function introduce({ config, shape, backend, tokenizer, text }: Setup, say: (line: string) => void): void {
  const { dp, pp, cp, tp, model, data, precision, launcher } = config;
  const ranks = rankCount(config);
  if (backend.note) say(`Training on wasm, slower: ${backend.note}`);
  say(`${model}: ${(parameterCount(shape) / 1e6).toFixed(2)} M parameters, ${precision}, on ${backend.description}`);
  const where = launcher === 'local' && !isLaunched() ? 'as coroutines of this process' : 'a process each';
  if (ranks > 1) say(`${ranks} ranks, dp${dp} x pp${pp} x cp${cp} x tp${tp}, ${where}`);
  say(`${data}: ${text.train.count} tokens to train on, ${text.validation.count} to validate, ${tokenizer.name}`);
}
