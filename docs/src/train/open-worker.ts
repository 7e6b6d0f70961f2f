/** Starts the worker in which a page trains; the bundler finds its program by this very expression. */
export const openWorker = (): Worker => new Worker(new URL('./worker/main.ts', import.meta.url), { type: 'module' });
