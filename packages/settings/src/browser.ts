/** The same in a web page: the settings and their checks. What they name, files and TensorFlow, is opened elsewhere. */
export * from './settings.ts';
export type { Setup } from './setup.ts';
