/** Groups of ranks and their collectives: as coroutines, as processes over TCP, as GPUs over NCCL. */
export * from './browser.ts';
export { OPERATIONS } from './calls.ts';
export type { GroupOptions, Receiving, Sending, Transport } from './process-group.ts';
export { attempt, type Environment, inWorld, isLaunched, type Joined, joinWorld, type WorldOptions } from './world.ts';
