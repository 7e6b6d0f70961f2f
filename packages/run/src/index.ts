/** What surrounds the training loop: what a run costs and writes, how it goes on from a checkpoint, how it fails. */
export { aboutOf } from './about.ts';
export { type TrainRank, trainingCommand } from './command.ts';
export { type Disk, disk } from './disk.ts';
export { nonFinite } from './faults.ts';
export { bitsPerByte, figures } from './figures.ts';
export { writeGradients } from './gradients.ts';
export type { Around, Rank, Surroundings, WithDisk } from './rank.ts';
export { report } from './report.ts';
export { checkResumed, findStart, openSaver, restore } from './resume.ts';
export { writeSample } from './sample.ts';
export { checkWithoutDisk } from './without-disk.ts';
export { zeroWeights } from './zero-weights.ts';
