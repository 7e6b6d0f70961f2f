/** What a training run can be told, and what it opens. */
export { checkModel, storedDType, textsOf } from './model.ts';
export * from './settings.ts';
export * from './setup.ts';
