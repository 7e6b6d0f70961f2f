/** The same in a web page: ranks are coroutines there, and nothing has to do with processes, sockets or NCCL. */
export {
  Call,
  type DeviceSpan,
  type DeviceTrace,
  type Operation,
  Recorder,
  type Reduction,
  type Span,
  specOf,
  type TensorSpec,
  type Totals,
} from './calls.ts';
export { COMPUTE, startDeviceTrace } from './device-trace.ts';
export { spmd } from './local/local.ts';
export { checkLayout, coordinatesOf, createMesh, type Layout, labelOf, type Mesh, rankCount } from './mesh.ts';
export { gatherObjects } from './objects.ts';
export { ProcessGroup, type Transfer } from './process-group.ts';
export { allGatherBytes, allReduceBytes } from './traffic.ts';
