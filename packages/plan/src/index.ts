/** What a training run will take, before it runs. */

export * from './machines.ts';
export * from './measured.ts';
export * from './memory.ts';
export * from './plan.ts';
export * from './report.ts';
export * from './stages.ts';
export * from './time.ts';
export * from './traffic.ts';
