/**
 * Where a run begins, what may differ from the run that saved, and what a checkpoint of it says.
 *
 *     --checkpoints runs/a --saveEvery 100          begins at the newest there, if any
 *     --resume runs/a/step-000300 --checkpoints b   begins there
 *     --resume none                                 begins anew
 *
 * The layout may differ, and what only concerns speed. What would make the state or the order of the data meaningless
 * is refused; what changes where the run goes from here (the learning rate) is allowed, and said.
 */
import { checkNothingLater, type Found, findAt, findNewest, openCheckpoint, Saver } from '@fourfold/checkpoint';
import type { ParameterState } from '@fourfold/optim';
import { attempt, type ProcessGroup } from '@fourfold/process-group';
import { dtypeOf, UserError } from '@fourfold/runtime';
import { type Settings, type Setup, sequencesPerStep } from '@fourfold/settings';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Rank } from './rank.ts';

/** Hears a sentence for the user. */
export type Say = (sentence: string) => void;

// ## Where to begin

/**
 * The checkpoint to begin at; undefined: anew. All ranks call it, and the first one's `say` hears what was found.
 *
 * @throws UserError where `resume` names no sound one, or the run would write over later steps of another
 */
export async function findStart({ config }: Setup, world: ProcessGroup, say: Say): Promise<Found | undefined> {
  const { checkpoints, resume } = config;
  const again = attempt() > 0; // the launcher has started the ranks again: after what they saved, not before
  if (checkpoints !== undefined && (resume === 'auto' || again)) {
    const newest = await findNewest(world, checkpoints, say);
    if (newest || resume === 'auto') return newest;
  }
  const found = resume === 'auto' || resume === 'none' ? undefined : await findAt(world, resume, say);
  if (checkpoints !== undefined) await checkNothingLater(world, checkpoints, found?.manifest.step ?? 0);
  return found;
}

/**
 * Refuses or says what differs from the run that saved.
 *
 * @throws UserError where the state or the order of the data would mean nothing: another model, batch, text, ...
 */
export function checkResumed({ config, shape, text }: Setup, { path, manifest }: Found, say: Say): void {
  const saved = manifest.settings as Settings;
  const refuse = (key: string, now: unknown, then: unknown) => {
    if (JSON.stringify(now) !== JSON.stringify(then))
      throw new UserError(
        `${key}=${now} can't go on from ${path}, saved with ${key}=${then}: use that, or resume=none`,
      );
  };
  for (const [key, value] of Object.entries(shape)) refuse(key, value, manifest.model[key]);
  for (const key of REFUSED) refuse(key, config[key], saved[key]);
  const [now, then] = [sequencesPerStep(config), sequencesPerStep(saved)];
  if (now !== then)
    throw new UserError(
      `dp x microBatchSize x gradAccSteps = ${now} can't go on from ${path}, saved with ${then} sequences a step: ` +
        'use values with that product, or resume=none',
    );
  refuse('data', `${config.data} of ${text.train.count} tokens`, `${config.data} of ${manifest.tokens} tokens`);
  const changed = SAID.filter((key) => JSON.stringify(config[key]) !== JSON.stringify(saved[key]));
  const changes = changed.map((key) => `${key}=${config[key]}, saved with ${saved[key]}`);
  const layout = (['dp', 'pp', 'cp', 'tp'] as const).map((key) => `${key}${manifest.layout[key]}`).join(' x ');
  say(`resumed ${path}, step ${manifest.step} of a run of ${layout}`);
  if (changes.length > 0) say(`from here on the run is another than the one that saved: ${changes.join('; ')}`);
}

/** What the state, or the order of the data, depends on. */
const REFUSED = [
  'tokenizer',
  'validationFraction',
  'seqLength',
  'seed',
  'precision',
  'moments',
  'masterWeights',
] as const;
/** What changes the steps to come. */
// biome-ignore format: a list
const SAID = [
  'data', 'steps', 'learningRate', 'schedule', 'warmupSteps', 'finalFraction', 'decayFraction', 'weightDecay', 'beta2',
  'clip', 'skipOutliers', 'device',
] as const;

// ## The state

/**
 * Puts a checkpoint's state into a rank. All ranks call it.
 *
 * @throws UserError where the checkpoint lacks some of it, or keeps it in another dtype
 */
export async function restore({ data, optimizer }: Rank, found: Found): Promise<void> {
  const checkpoint = await openCheckpoint(found);
  try {
    const states = new Map<(typeof data.updated)[number], ParameterState>();
    for (const parameter of data.updated) {
      const state: Record<string, Tensor> = {};
      for (const [kind, tensor] of Object.entries(optimizer.stateOf(parameter)) as [string, Tensor][])
        state[kind] = await checkpoint.tensor(kind, parameter, dtypeOf(tensor));
      states.set(parameter, state as unknown as ParameterState);
    }
    optimizer.restore(found.manifest.updates, states);
  } finally {
    await checkpoint.close();
  }
  await data.gathered(); // ZeRO: everybody's part of the weights to everybody
}

/** What saves the run; undefined where it has no folder for that. All ranks call it. */
export async function openSaver({ setup, mesh, data, optimizer }: Rank, say: Say): Promise<Saver | undefined> {
  const { checkpoints: folder, keep } = setup.config;
  if (folder === undefined) return undefined;
  const stateOf = (parameter: (typeof data.updated)[number]) => optimizer.stateOf(parameter);
  return Saver.open(mesh.world, { folder, keep, parameters: data.updated, stateOf, say });
}
