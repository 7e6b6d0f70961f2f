/** The tensor backend: open it, run its ops at their true dtypes, draw numbers, and see what memory is used. */
export { type Backend, type BackendOptions, type Device, openBackend } from './backend.ts';
export { exitWith, messageOf, RunError, UserError } from './errors.ts';
export { type MemoryFigures, machineMemory, memory, resetPeak } from './memory.ts';
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
  hasFusedOps,
  onTensorflow,
  onTensorflowCpu,
  read,
  share,
} from './tensorflow.ts';
export { Variable } from './variable.ts';
