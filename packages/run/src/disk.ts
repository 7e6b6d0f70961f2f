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

export interface Disk {
  readonly restore: typeof restore;
  readonly openSaver: typeof openSaver;
  readonly writeGradients: typeof writeGradients;
  readonly report: typeof report;
  readonly exportModel: typeof exportModel;
}

export const disk: Disk = { restore, openSaver, writeGradients, report, exportModel };
