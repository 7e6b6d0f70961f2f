/** What surrounds the training loop: what a run costs and writes, how it goes on from a checkpoint, how it fails. */
export { type Numbers, nonFinite } from './faults.ts';
export type { Rank } from './rank.ts';
export { figures, report } from './report.ts';
export { aboutOf, checkResumed, findStart, openSaver, restore, type Say, zeroWeights } from './resume.ts';
export { bitsPerByte, writeGradients, writeSample } from './whole.ts';
