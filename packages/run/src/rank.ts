/**
 * What one rank of a training run works with: its part of the model, and who does what with it; and what surrounds its
 * loop: a screen, a disk, somebody who may stop it.
 */
import type { Found } from '@fourfold/checkpoint';
import type { DataParallel } from '@fourfold/data-parallel';
import type { RunLog } from '@fourfold/metrics';
import type { Llama } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import type { AdamW } from '@fourfold/optim';
import type { Mesh } from '@fourfold/process-group';
import type { Setup } from '@fourfold/settings';
import type { Disk } from './disk.ts';

/** One rank of a training run. */
export interface Rank {
  /** The run's settings, model shape, text and files. */
  readonly setup: Setup;
  /** Its groups. */
  readonly mesh: Mesh;
  /** Its stages of the model. */
  readonly parts: readonly Llama[];
  /** What it trains. */
  readonly parameters: readonly Parameter[];
  /** What averages its gradients. */
  readonly data: DataParallel;
  /** What updates them. */
  readonly optimizer: AdamW;
}

/** All of it may be missing, as a disk is in a web page: then nothing is read from one or written to it. */
export type Around = Surroundings & (WithDisk | { readonly disk?: never; readonly found?: never });

/** Who hears of the run, and who may end it. */
export interface Surroundings {
  /** Hears how it goes: on the first rank. */
  readonly log?: RunLog | undefined;
  /** Asks for the end, after a step. */
  readonly signal?: AbortSignal;
  /** Awaited after each step: here the rest of the program has its turn, and may pause the run. */
  readonly between?: () => Promise<void>;
}

/** Where there is a disk. */
export interface WithDisk {
  /** What to do with it. */
  readonly disk: Disk;
  /** The checkpoint to begin at. */
  readonly found?: Found | undefined;
}
