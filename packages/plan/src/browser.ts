/** The same in a web page: index.ts without the measured runs, which lie on a disk. */

export * from './machines.ts';
export * from './memory.ts';
export * from './plan.ts';
export * from './report.ts';
export * from './stages.ts';
export * from './time.ts';
export * from './traffic.ts';
