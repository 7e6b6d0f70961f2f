/** What turns gradients into a step: clipping, the learning rate, AdamW. */
export { AdamW, type AdamWOptions, type Clipping, type ParameterState } from './adamw.ts';
export { clipFactor, squaredNorm } from './clip.ts';
export { Outliers, type Window } from './outliers.ts';
export { learningRateAt, type Schedule, type ScheduleName } from './schedule.ts';
