/** The same in a web page: index.ts without what writes files or to a terminal. */
export * from './chrome-trace.ts';
export * from './columns.ts';
export * from './curve.ts';
export * from './device-report.ts';
export * from './device-timeline.ts';
export * from './flops.ts';
export * from './memory-estimate.ts';
export * from './overlay.ts';
export * from './profile-report.ts';
export type { RunLog, ValidationFigures } from './run-log.ts';
export * from './schedule-picture.ts';
export * from './step-line.ts';
export * from './timeline.ts';
export * from './traffic-report.ts';
