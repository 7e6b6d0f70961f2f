/**
 * A decoder for a model, wherever its ranks are: this process alone, processes of this machine, or other machines.
 *
 *     const decoder = await openRanks(await openModel('smollm2-135m'), { slots: 1 }, { local: 2, threads: 1, ... })
 */
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TransferFormat } from '@fourfold/process-group/lanes';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import type { Decoder } from '../decoder.ts';
import { chooseOptions, inBlocks, type ModelOptions } from '../load.ts';
import { openDecoder } from '../open-decoder.ts';
import { checkRanks } from '../slices.ts';
import type { StoredModel } from '../stored.ts';
import { type LocalWorkers, startLocalWorkers } from './local-worker.ts';
import { addressOf, type Offer } from './offer.ts';
import { connectWorkers } from './root.ts';
import { fourfoldVersion, secretFor } from './secret.ts';

export interface Ranks {
  /** host:port of each worker; none: this machine alone. */
  readonly workers: readonly string[];
  /** How many ranks this machine has, where there are no workers. */
  readonly local: number;
  readonly transfers: TransferFormat;
  readonly secretFile?: string | undefined;
  /** The secret where there is no file. */
  readonly secret?: string | undefined;
  readonly timeoutMs: number;
  readonly threads?: number | undefined;
  /** Where weights are drawn: their format. */
  readonly random?: Offer['random'];
  readonly log: (line: string) => void;
}

/** Threads of a rank: as asked, or this machine's cores shared out among its ranks. */
export const threadsOf = ({ threads, local }: Pick<Ranks, 'threads' | 'local'>): number =>
  threads ?? Math.max(1, Math.floor(availableParallelism() / local));

/**
 * Opens it. The model is closed with the decoder, and local workers end with it.
 *
 * @throws UserError where the settings don't fit together, or a worker can't be had, with the reason
 */
export async function openRanks(model: StoredModel, options: ModelOptions, ranks: Ranks): Promise<Decoder> {
  const { workers, local, transfers, timeoutMs, random, log } = ranks;
  if (workers.length > 0 && local > 1)
    throw new UserError(`--local ${local} and --workers exclude each other: start a worker for each rank here`);
  if (workers.length === 0 && local === 1) return openDecoder(model, options);
  const sharing = chooseOptions(model, options);
  const common = { version: fourfoldVersion(), model, random, sharing, transfers, timeoutMs, log };
  if (workers.length > 0) {
    const addresses = workers.map(addressOf);
    const secret = secretFor(
      addresses.map(({ host }) => host),
      ranks.secretFile,
      ranks.secret,
    );
    return connectWorkers({ ...common, workers: addresses, secret });
  }
  checkRanks(model.shape, local, inBlocks(model, sharing.weights)); // before so many processes are started
  const started = await startLocalWorkers({
    count: local - 1,
    threads: threadsOf(ranks),
    model: model.path,
    timeoutMs,
  });
  try {
    return withLocal(await connectWorkers({ ...common, ...started }), started);
  } catch (error) {
    started.stop();
    throw error;
  }
}

/** Ends the workers when the decoder is closed. */
function withLocal(decoder: Decoder, { stop }: LocalWorkers): Decoder {
  const close = decoder.close.bind(decoder);
  return Object.assign(decoder, {
    async close() {
      await close();
      stop();
    },
  });
}

/** Tries until a decoder opens: a worker that was lost may come back. `report` hears each new reason why not. */
export async function reopen(
  open: () => Promise<Decoder>,
  { everyMs, report }: { readonly everyMs: number; readonly report: (why: string) => void },
): Promise<Decoder> {
  for (let last = ''; ; await sleep(everyMs)) {
    try {
      return await open();
    } catch (error) {
      const why = messageOf(error);
      if (why !== last) report(why);
      last = why;
    }
  }
}
