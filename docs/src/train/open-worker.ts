/** What a page opens to train: the worker's program, and the text's file on the site. */

/** The text's name, below the site's base path. */
export const TEXT_FILE = 'moby-dick-part.txt';

/** Starts the worker; the bundler finds its program by this very expression. */
export const openWorker = (): Worker => new Worker(new URL('./worker/main.ts', import.meta.url), { type: 'module' });
