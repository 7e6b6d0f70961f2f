/** What a training run can be told, and what it opens. */
export { checkModel, tokenizerFilesOf } from './model.ts';
export * from './settings.ts';
export * from './setup.ts';
