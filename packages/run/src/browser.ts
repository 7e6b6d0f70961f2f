/** The same in a web page: index.ts without what reads and writes files, and without a command line. */
export { aboutOf } from './about.ts';
export { nonFinite } from './faults.ts';
export { bitsPerByte, figures } from './figures.ts';
export { trainingCommand } from './page.ts';
export { writeSample } from './sample.ts';
export { checkWithoutDisk } from './without-disk.ts';
export { zeroWeights } from './zero-weights.ts';
