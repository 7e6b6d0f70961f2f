/** The tensor backend: open it, run its ops at their true dtypes, draw numbers, and see what memory is used. */
export { type Backend, type BackendOptions, type Device, openBackend } from './backend.ts';
export { arrived, copyOut, unpin } from './copy-out.ts';
export { type DeviceOp, type DeviceProfile, profileDevice, startProfile } from './device-profile.ts';
export { exitWith, messageOf, RunError, UserError } from './errors.ts';
export { machineMemory } from './machine-memory.ts';
export { type MemoryFigures, memory, resetPeak } from './memory.ts';
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
