/**
 * The model that a run trains: one of a named shape with weights from the seed, or one that was trained before.
 *
 *     npm start -- --model nano
 *     npm start -- --initFrom smollm2-135m --learningRate 1e-4        goes on from Hugging Face's weights
 *
 * A trained model brings its shape and its tokenizer along.
 */
import { basename, resolve } from 'node:path';
import {
  checkExport,
  checkWeights,
  type ExportPlan,
  type FloatDType,
  openPretrained,
  type Pretrained,
  valuesFrom,
} from '@fourfold/checkpoint';
import { openTokenizer, type Tokenizer, tokenizerFrom, tokenizerJson } from '@fourfold/data';
import { type Initialize, type LlamaConfig, parameterShapes } from '@fourfold/model';
import { UserError } from '@fourfold/runtime';
import { checkSettings, type Settings, shapeOf } from './settings.ts';

export interface ModelToTrain {
  /** With the trained model's name as the model's. */
  readonly config: Settings;
  readonly shape: LlamaConfig;
  readonly tokenizer: Tokenizer;
  /** Of a trained model. */
  readonly weights: Initialize | undefined;
  readonly plan: ExportPlan | undefined;
  readonly close: () => void;
}

/**
 * Refuses what can't be trained so, and leaves nothing open. Returns the model's shape.
 *
 * @throws UserError as openModel
 */
export async function checkModel(config: Settings): Promise<LlamaConfig> {
  const { shape, close } = await openModel(config);
  close();
  return shape;
}

/**
 * Opens what the settings name, and checks that it can be trained as they say.
 *
 * @throws UserError where something is missing or not sound, or settings don't fit the model, each other or the memory
 */
export async function openModel(settings: Settings): Promise<ModelToTrain> {
  const { initFrom, ...rest } = settings;
  if (rest.export !== undefined) checkExport(rest.export);
  if (initFrom === undefined) {
    const tokenizer = await openTokenizer(rest.tokenizer ?? 'bytes');
    const shape = shapeOf(settings, tokenizer);
    checkSettings(settings, shape);
    const plan = await planOf(settings, shape);
    return { config: settings, shape, tokenizer, weights: undefined, plan, close: () => {} };
  }
  checkUnchanged(settings);
  const pretrained = await openPretrained(initFrom);
  const { shape, weights } = pretrained;
  try {
    const config = { ...settings, model: basename(resolve(initFrom)) };
    checkSettings(config, shape);
    checkWeights(weights, parameterShapes(shape));
    const tokenizer = await tokenizerOf(settings, pretrained);
    const plan = await planOf(settings, shape, pretrained);
    return { config, shape, tokenizer, weights: valuesFrom(weights), plan, close: weights.close };
  } catch (error) {
    weights.close();
    throw error;
  }
}

/** A trained model has its shape: what would change it is refused. */
function checkUnchanged(settings: Settings): void {
  for (const key of ['layers', 'dim', 'heads', 'kvHeads', 'ffn', 'vocabulary', 'tied'] as const)
    if (settings[key] !== undefined)
      throw new UserError(
        `${key}=${settings[key]} would change the model of initFrom=${settings.initFrom}: leave it out`,
      );
}

/** The tokenizer that was asked for, else the model's own. */
async function tokenizerOf({ tokenizer, initFrom }: Settings, { tokenizerFiles }: Pretrained): Promise<Tokenizer> {
  if (tokenizer !== undefined) return openTokenizer(tokenizer);
  const json = tokenizerFiles.get('tokenizer.json');
  if (json !== undefined) return tokenizerFrom('tokenizer.json', json, `${initFrom}'s tokenizer.json`);
  throw new UserError(`initFrom=${initFrom} has no tokenizer that can be read: give one with --tokenizer`);
}

/** What the run's export will say of the model beside its weights. */
async function planOf(
  settings: Settings,
  shape: LlamaConfig,
  pretrained?: Pretrained,
): Promise<ExportPlan | undefined> {
  const { export: folder, precision } = settings;
  if (folder === undefined) return undefined;
  return { folder, dtype: storedDType(precision), shape, ...(await textsOf(settings, pretrained)) };
}

/** What weights of a precision are stored as, in safetensors' words. */
export const storedDType = (precision: Settings['precision']): FloatDType =>
  precision === 'bfloat16' ? 'BF16' : 'F32';

/** What is said of texts beside a model's weights: how long they may be, what ends them, their tokenizer's files. */
export async function textsOf({ tokenizer, seqLength }: Settings, pretrained?: Pretrained) {
  const { maxPositions = seqLength, ends = {}, tokenizerFiles: own } = pretrained ?? {};
  const tokenizerFiles = own && tokenizer === undefined ? own : await tokenizerFilesOf(tokenizer ?? 'bytes');
  return { maxPositions, ends, tokenizerFiles };
}

/** The files by which others have the same tokenizer, by name: texts. `tokenizer`: as the setting. */
async function tokenizerFilesOf(tokenizer: string): Promise<Map<string, string>> {
  const config = { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false };
  return new Map([
    ['tokenizer.json', await tokenizerJson(tokenizer)],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
  ]);
}
