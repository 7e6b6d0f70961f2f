/** What a training run can be told, and what it opens. */
export * from './settings.ts';
export * from './setup.ts';
