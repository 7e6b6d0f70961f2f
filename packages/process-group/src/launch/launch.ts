/**
 * Starts a script as several ranks, and stays with them to the end.
 *
 *     for each attempt:  arrange where to meet -> start the ranks -> wait -> all ended with 0?  done
 *                                                                         -> one failed?        say which; try again
 *                                                                         -> a signal came?     pass it on; done
 *
 * Restarting all ranks is all the fault tolerance there is, here as in torchrun: the script writes checkpoints, and
 * begins at the last one when it finds TORCHELASTIC_RESTART_COUNT above 0.
 */
import { availableParallelism } from 'node:os';
import { arrangeMeeting, environmentOf, sharedGpus } from './environment.ts';
import { gpusOf, type Machine } from './machine.ts';
import { Output } from './output.ts';
import { describeEnding, exitCodeOf, type RankPlan } from './process.ts';
import type { Settings } from './settings.ts';
import { Stop } from './stop.ts';
import { Team } from './team.ts';

/** The exit code of a user's mistake. Another attempt would make it again. */
const MISTAKE = 2;

/** A rank starts as `node --import tsx script.ts`; tsx's own path makes it found from any folder. */
const tsx = import.meta.resolve('tsx');

/** Runs the ranks to their end and returns the exit code. Throws UserError before any is started. */
export async function launch(settings: Settings): Promise<number> {
  const stop = new Stop();
  const ranks = Array.from({ length: settings.nproc }, (_, i) => settings.nodeRank * settings.nproc + i);
  const output = new Output(process.stdout, process.stderr, ranks, () => stop.by('SIGPIPE'));
  const machine = { gpus: gpusOf(process.env['CUDA_VISIBLE_DEVICES']), cores: availableParallelism() };
  const shared = sharedGpus(settings.nproc, machine.gpus);
  for (let attempt = 0; ; attempt++) {
    const plans = await plan(settings, attempt, machine);
    if (stop.signal) return exitCodeOf({ code: null, signal: stop.signal });
    if (attempt === 0 && shared) output.note(shared);
    if (attempt > 0) output.note(`attempt ${attempt + 1} of ${settings.maxRestarts + 1}`);
    stop.team = new Team(plans, settings.grace, output);
    const failure = await stop.team.ended;
    stop.team = undefined;
    if (stop.signal) return exitCodeOf({ code: null, signal: stop.signal });
    if (!failure) return 0;
    output.note(describeEnding(failure));
    if (attempt === settings.maxRestarts || failure.code === MISTAKE) return exitCodeOf(failure);
  }
}

/** What to start in this attempt: the same script, as each rank of this node. */
async function plan(settings: Settings, attempt: number, machine: Machine): Promise<RankPlan[]> {
  const { env } = process;
  const meeting = await arrangeMeeting(settings, env);
  return Array.from({ length: settings.nproc }, (_, localRank) => ({
    rank: settings.nodeRank * settings.nproc + localRank,
    command: ['--import', tsx, settings.script, ...settings.args],
    env: environmentOf(localRank, settings, meeting, attempt, env, machine),
  }));
}
