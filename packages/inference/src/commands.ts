/**
 * The commands of this package, each loaded when it is called: `npx fourfold NAME` starts its `main`.
 */

/** By name: what imports the command's file. */
export const commands = {
  generate: () => import('./commands/generate.ts'),
  chat: () => import('./commands/chat.ts'),
  serve: () => import('./commands/serve.ts'),
  perplexity: () => import('./commands/perplexity.ts'),
  worker: () => import('./commands/worker.ts'),
  bench: () => import('./commands/bench.ts'),
  convert: () => import('./commands/convert.ts'),
};
