/** Groups of ranks and their collectives: as coroutines, as processes over TCP, as GPUs over NCCL. */
export {
  Call,
  type DeviceSpan,
  type DeviceTrace,
  OPERATIONS,
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
export {
  type GroupOptions,
  ProcessGroup,
  type Receiving,
  type Sending,
  type Transfer,
  type Transport,
} from './process-group.ts';
export { allGatherBytes, allReduceBytes } from './traffic.ts';
export { attempt, type Environment, inWorld, isLaunched, type Joined, joinWorld, type WorldOptions } from './world.ts';
