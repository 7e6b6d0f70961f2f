/**
 * What a run says about itself: the step line, the progress bar, JSON lines, the loss curve, what was communicated, and
 * pictures and traces of when.
 */
export * from './browser.ts';
export * from './display.ts';
export * from './event-file.ts';
export type { Interval } from './intervals.ts';
export * from './log.ts';
export * from './run-log.ts';
export * from './run-report.ts';
