/** Collectives between GPUs. */
export { loadNccl, type NativeNccl } from './native.ts';
export { NcclTransport } from './nccl.ts';
export { type NcclOptions, openNccl } from './open.ts';
