/** The tensor backend: open it, run its ops at their true dtypes, draw numbers, and see what memory is used. */
export { openBackend } from './backend.ts';
export * from './browser.ts';
export { machineMemory } from './machine-memory.ts'; // in place of a page's
