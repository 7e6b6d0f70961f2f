/**
 * What a run says about itself: the step line, the progress bar, JSON lines, the loss curve, what was communicated, and
 * pictures and traces of when.
 */
export * from './chrome-trace.ts';
export * from './columns.ts';
export * from './curve.ts';
export * from './device-report.ts';
export * from './device-timeline.ts';
export * from './display.ts';
export * from './event-file.ts';
export * from './flops.ts';
export type { Interval } from './intervals.ts';
export * from './log.ts';
export * from './memory-estimate.ts';
export * from './overlay.ts';
export * from './profile-report.ts';
export * from './run-log.ts';
export * from './run-report.ts';
export * from './schedule-picture.ts';
export * from './step-line.ts';
export * from './timeline.ts';
export * from './traffic-report.ts';
