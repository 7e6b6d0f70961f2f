/** What a training run can be told, and what it opens. */
export { checkModel } from './model.ts';
export * from './settings.ts';
export * from './setup.ts';
