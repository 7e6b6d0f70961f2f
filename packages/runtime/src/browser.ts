/**
 * The same in a web page: index.ts without what opens TensorFlow or reads the machine's files. A page opens its backend
 * with openPageBackend of @fourfold/runtime/page.
 */
export type { Backend, BackendOptions, Device } from './backend.ts';
export { arrived, copyOut, unpin } from './copy-out.ts';
export { type DeviceOp, type DeviceProfile, profileDevice, startProfile } from './device-profile.ts';
export { exitWith, messageOf, RunError, UserError } from './errors.ts';
export { type MemoryFigures, memory, resetPeak } from './memory.ts';
export { machineMemory } from './page/memory.ts';
export { type OpTime, profileOps } from './profile.ts';
export { type Key, keyOf, normals, randomWords, uniforms } from './random.ts';
export {
  type Attribute,
  attr,
  BYTES,
  cast,
  type DType,
  dtypeOf,
  execute,
  executeMany,
  executeView,
  executeViews,
  hasFusedOps,
  hasFusedProducts,
  isSole,
  onTensorflow,
  onTensorflowCpu,
  read,
  share,
} from './tensorflow.ts';
export { constant, hostFloats, readLater, readTimed, type Timed, zeros } from './without-waiting.ts';
