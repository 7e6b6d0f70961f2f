/**
 * What the training loop does with a disk. It is handed to the loop, which runs in web pages too, where there is none.
 */
import { exportRanks } from '@fourfold/checkpoint';
import { parameterShapes } from '@fourfold/model';
import { writeGradients } from './gradients.ts';
import type { Rank } from './rank.ts';
import { report } from './report.ts';
import { openSaver, restore } from './resume.ts';

/** Writes the trained model as the settings ask. All ranks call it. */
async function exportModel(rank: Rank, say?: (line: string) => void): Promise<void> {
  const { plan, shape } = rank.setup;
  if (plan) await exportRanks(plan, parameterShapes(shape), rank, say);
}

/** The five things, each of which all ranks call. */
export interface Disk {
  /** Goes on from a checkpoint. */
  readonly restore: typeof restore;
  /** Opens what saves checkpoints. */
  readonly openSaver: typeof openSaver;
  /** Writes the first step's gradients to a file. */
  readonly writeGradients: typeof writeGradients;
  /** Writes what the run cost. */
  readonly report: typeof report;
  /** Writes the trained model. */
  readonly exportModel: typeof exportModel;
}

/** Node's. */
export const disk: Disk = { restore, openSaver, writeGradients, report, exportModel };
