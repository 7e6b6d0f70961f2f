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

export interface Rank {
  readonly setup: Setup;
  readonly mesh: Mesh;
  /** Its stages of the model. */
  readonly parts: readonly Llama[];
  readonly parameters: readonly Parameter[];
  readonly data: DataParallel;
  readonly optimizer: AdamW;
}

/** All of it may be missing, as a disk is in a web page: then nothing is read from one or written to it. */
export type Around = Surroundings & (WithDisk | { readonly disk?: never; readonly found?: never });

/** What a loop has around it, on a machine or in a page. */
export interface Surroundings {
  /** Hears how it goes: on the first rank. */
  readonly log?: RunLog | undefined;
  /** Asks for the end, after a step. */
  readonly signal?: AbortSignal;
  /** Awaited after each step: here the rest of the program has its turn, and may pause the run. */
  readonly between?: () => Promise<void>;
}

/** What it has beside that where there is a disk. */
export interface WithDisk {
  readonly disk: Disk;
  /** The checkpoint to begin at. */
  readonly found?: Found | undefined;
}
