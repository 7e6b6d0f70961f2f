/** What a training run will take, before it runs. */
export * from './browser.ts';
export * from './measured.ts';
