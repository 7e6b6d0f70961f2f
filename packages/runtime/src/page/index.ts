/** What only a web page has: its tensor backends, and how much memory they have. */
export { type Adapter, adapterOf, openPageBackend, type PageBackend, type PageOptions } from './backend.ts';
export { machineMemory } from './memory.ts';
