/**
 * TensorFlow's own kernels behind tfjs tensors: any registered op by name, and the dtypes that tfjs doesn't know.
 *
 *   const y = execute('MatMul', [a, b], [attr.type('T', 'bfloat16'), attr.bool('transpose_b', true), ...])
 *
 * tfjs knows float32, int32 and bool. A bfloat16 tensor lives here as a TensorFlow handle under a tfjs tensor whose
 * `dtype` says float32: `dtypeOf` tells the truth, and only packages that ask for it may touch such tensors. Everything
 * else of tfjs (tidy, dispose, clone, memory) works on them unchanged.
 */
import type { DataId, KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { CudaModule } from './cuda.ts';
import { UserError } from './errors.ts';

/** The dtypes that ops and packages above know. */
export type DType = 'float32' | 'bfloat16' | 'int32' | 'bool';
/** Bytes of one element. */
export const BYTES: Record<DType, number> = { float32: 4, bfloat16: 2, int32: 4, bool: 1 };

/** TensorFlow's numbers for dtypes (TF_DataType of its C API), and below for kinds of attributes (TF_AttrType). */
export const TYPE_NUMBER: Record<DType, number> = { float32: 1, int32: 3, bool: 10, bfloat16: 14 };
const BFLOAT16 = TYPE_NUMBER.bfloat16;
const [STRING, INT, FLOAT, BOOL, TYPE, SHAPE] = [0, 1, 2, 3, 4, 5];

/** One attribute of an op, as the binding takes it. */
export interface Attribute {
  /** As the op's registration has it. */ readonly name: string;
  /** TensorFlow's number for its kind. */ readonly type: number;
  /** In the kind's form. */ readonly value: unknown;
}

/** Attributes by kind: `attr.type('T', 'float32')`, `attr.bool('keep_dims', true)`. */
export const attr = {
  type: (name: string, dtype: DType): Attribute => ({ name, type: TYPE, value: TYPE_NUMBER[dtype] }),
  bool: (name: string, value: boolean): Attribute => ({ name, type: BOOL, value }),
  int: (name: string, value: number): Attribute => ({ name, type: INT, value }),
  /** A list: the binding spends microseconds on each attribute, and little on each number. */
  ints: (name: string, value: readonly number[]): Attribute => ({ name, type: INT, value }),
  float: (name: string, value: number): Attribute => ({ name, type: FLOAT, value }),
  string: (name: string, value: string): Attribute => ({ name, type: STRING, value }),
  shape: (name: string, value: readonly number[]): Attribute => ({ name, type: SHAPE, value }),
};

/** What the binding reports of an op's output. */
export interface Handle {
  /** By which the binding knows it. */ id: number;
  /** Its sides. */ shape: number[];
  /** TensorFlow's number. */ dtype: number;
}

/** Memory that several handles may share: it is gone with the last of them. */
export interface Buffer {
  /** Its size. */ readonly bytes: number;
  /** How many handles have it. */ holders: number;
}

/** What tfjs-node keeps for each piece of data: a TensorFlow handle, or values not handed over yet (id -1). */
export interface Stored extends Handle {
  /** What JavaScript gave, until it is handed over. */ values: unknown;
  /** How many tensors share it. */ refCount: number;
  /** The memory that it has. */ buffer?: Buffer;
}

/** The part of tfjs-node's native binding that is used here. */
export interface Binding {
  /** Runs a registered op on handles' ids. */
  executeOp(op: string, attributes: Attribute[], inputs: number[], outputs: number): Handle[];
}

/** The part of tfjs-node's NodeJSKernelBackend that is used here (some of it is private in its declarations). */
export interface NodeBackend extends KernelBackend {
  /** Whether its device is a GPU. */ readonly isUsingGpuDevice: boolean;
  /** The native binding itself. */ binding: Binding;
  /** What it keeps for each piece of data. */
  readonly tensorMap: { get(id: DataId): Stored; set(id: DataId, data: Stored): void; has(id: DataId): boolean };
  /** A tensor for a handle. */ createOutputTensor(output: Handle): Tensor;
  /** Runs an op with several outputs. */
  executeMultipleOutputs(op: string, attributes: Attribute[], inputs: TensorInfo[], outputs: number): Tensor[];
  /** With one output. */ executeSingleOutput(op: string, attributes: Attribute[], inputs: TensorInfo[]): Tensor;
}
/** Its class, which is there once TensorFlow has been loaded. */
export type NodeBackendClass = new (binding: unknown, packageName: string) => NodeBackend;

/**
 * What native/ops' bytes.h, lanes-module.h and packed-bytes.h give JavaScript. dtype: TensorFlow's number; reduction: 0
 * sum, 1 mean, 2 max; format: a number of native/ops/blocks.h, transfer: 0 float32, 1 bfloat16, 2 q80; variant: of
 * packed-variants.h.
 */
export interface NativeOps {
  /** float32 to blocks. */ quantize(format: number, floats: Uint8Array, out: Uint8Array): void;
  /** Blocks to float32. */ dequantize(format: number, bytes: Uint8Array, floats: Uint8Array): void;
  /** Bytes of one packed matrix. */ panelBytes(format: number, rows: number, columns: number): number;
  /** Row-major blocks to panels. */
  pack(format: number, rows: number, columns: number, matrices: number, bytes: Uint8Array, out: Uint8Array): void;
  /** Whether the processor has its instructions. */ hasVariant(variant: number): boolean;
  /** The lent memory, from byte to byte. */ takeLent(from: number, to: number): ArrayBuffer;
  /** Ends a loan. */ giveBack(buffer: ArrayBuffer): void;
  /** The sum, mean or largest of arrays of bytes. */
  fold(out: Uint8Array, inputs: readonly Uint8Array[], dtype: number, reduction: number): void;
  /** The number of the lanes. */
  openLanes(
    rank: number,
    sockets: readonly number[],
    names: readonly string[],
    format: number,
    timeoutMs: number,
  ): number;
  /** All ranks' bytes. */ gatherLanes(lanes: number, bytes: Uint8Array, lengths: readonly number[]): Uint8Array[];
  /** Since they were opened. */ lanesCost(lanes: number): [sent: number, received: number, milliseconds: number];
  /** Ends them. */ closeLanes(lanes: number): void;
}

/** A TensorFlow backend that lets bfloat16 through and counts the bytes that tensors hold. */
export interface TensorflowBackend extends NodeBackend {
  /** The addon's functions. */ readonly native: NativeOps;
  /** With CUDA: what runs the fused ops on the GPU. */ readonly cuda: CudaModule | undefined;
  /** What the fused ops are made for on its device. */ readonly fusedDtypes: readonly DType[];
  /** Bytes that tensors hold, and the most they held. */ readonly memoryBytes: { now: number; peak: number };
  /** Counts memory that a new holder has made. */ allocate(bytes: number): Buffer;
  /** Counts one holder less. */ release(buffer: Buffer): void;
  /** Runs an op whose first outputs lie in memory that is counted already; undefined: in memory of their own. */
  view<Y>(buffers: (Buffer | undefined)[], run: () => Y): Y;
}
/** Its class. */
export type TensorflowBackendClass = new (binding: unknown, packageName: string) => TensorflowBackend;

/** Bytes that a tensor of this shape and dtype takes. */
export const sizeOf = (stored: Pick<Handle, 'shape' | 'dtype'>): number => {
  const bytes = stored.dtype === BFLOAT16 ? 2 : stored.dtype === TYPE_NUMBER.bool ? 1 : 4;
  return stored.shape.reduce((product, side) => product * side, bytes);
};

/**
 * Extends tfjs-node's backend class; takes the class, since it can only be loaded once TensorFlow has been found.
 * `native` and `cuda` are the fused ops that were loaded, for the CPU and for GPUs.
 */
export function withTrueDtypes(Base: NodeBackendClass, native: NativeOps, cuda?: CudaModule): TensorflowBackendClass {
  return class extends Base {
    readonly native = native;
    readonly cuda = this.isUsingGpuDevice ? cuda : undefined;
    readonly fusedDtypes = this.cuda?.dtypes() ?? (this.isUsingGpuDevice ? [] : (['float32'] as const));
    readonly memoryBytes = { now: 0, peak: 0 };
    #viewed: (Buffer | undefined)[] = [];

    allocate(bytes: number): Buffer {
      this.memoryBytes.now += bytes;
      this.memoryBytes.peak = Math.max(this.memoryBytes.peak, this.memoryBytes.now);
      return { bytes, holders: 1 };
    }

    release(buffer: Buffer): void {
      buffer.holders -= 1;
      if (buffer.holders === 0) this.memoryBytes.now -= buffer.bytes;
    }

    view<Y>(buffers: (Buffer | undefined)[], run: () => Y): Y {
      this.#viewed = buffers;
      try {
        return run();
      } finally {
        this.#viewed = [];
      }
    }

    #bufferOf(output: Handle): Buffer {
      const viewed = this.#viewed.shift();
      if (!viewed) return this.allocate(sizeOf(output));
      viewed.holders += 1;
      return viewed;
    }

    override createOutputTensor(output: Handle): Tensor {
      const x = output.dtype === BFLOAT16 ? bfloat16Tensor(this, output) : super.createOutputTensor(output);
      this.tensorMap.get(x.dataId).buffer = this.#bufferOf(output);
      return x;
    }

    override move(...data: Parameters<NodeBackend['move']>): void {
      super.move(...data);
      const stored = this.tensorMap.get(data[0]);
      stored.buffer = this.allocate(sizeOf(stored));
    }

    override disposeData(dataId: DataId, force?: boolean): boolean {
      const buffer = this.tensorMap.has(dataId) ? this.tensorMap.get(dataId).buffer : undefined;
      const gone = super.disposeData(dataId, force);
      if (buffer && gone) this.release(buffer);
      return gone;
    }
  };
}

/** A tfjs tensor for a handle of a dtype that tfjs doesn't know. */
function bfloat16Tensor(backend: NodeBackend, output: Handle): Tensor {
  const dataId = {};
  backend.tensorMap.set(dataId, { ...output, values: null, refCount: 1 });
  return tf.engine().makeTensorFromTensorInfo({ dataId, shape: output.shape, dtype: 'float32' });
}

/** Whether the current backend is TensorFlow, so that `execute` and bfloat16 are there. */
export const onTensorflow = (): boolean => tf.getBackend() === 'tensorflow';

/** Whether TensorFlow runs on the CPU, where tensors lie in memory that JavaScript can read. */
export const onTensorflowCpu = (): boolean => onTensorflow() && !(tf.backend() as TensorflowBackend).isUsingGpuDevice;

/** Whether the fused ops of native/ops can take x as it is: on the CPU they are for float32 alone. */
export const hasFusedOps = (x: Tensor): boolean =>
  onTensorflow() && (tf.backend() as TensorflowBackend).fusedDtypes.includes(dtypeOf(x));

/** Whether products can be the fused one, which adds to what is there: on CUDA. */
export const hasFusedProducts = (): boolean => onTensorflow() && (tf.backend() as TensorflowBackend).cuda !== undefined;

/** Runs `work` without the fused ops, on TensorFlow's own kernels: what to compare them with. */
export async function stockKernels<R>(work: () => Promise<R>): Promise<R> {
  const backend = tensorflow();
  const { fusedDtypes, cuda } = backend;
  Object.assign(backend, { fusedDtypes: [], cuda: undefined });
  try {
    return await work();
  } finally {
    Object.assign(backend, { fusedDtypes, cuda });
  }
}

/** The TensorFlow backend; throws UserError where another one is in use. */
export function tensorflow(): TensorflowBackend {
  if (!onTensorflow())
    throw new UserError(
      `this needs TensorFlow, but the backend in use is ${tf.getBackend() || 'none'}: open cpu or cuda`,
    );
  return tf.backend() as TensorflowBackend;
}

/** Runs TensorFlow op `op` and returns its only output. The attributes must name every one that has no default. */
export const execute = (op: string, inputs: Tensor[], attributes: Attribute[]): Tensor =>
  (tf.backend() as TensorflowBackend).executeSingleOutput(op, attributes, inputs);

/** The same for an op whose output is an input's memory, the first's if not said: in another shape, or written over. */
export const executeView = (
  op: string,
  inputs: [Tensor, ...Tensor[]],
  attributes: Attribute[],
  viewed = inputs[0],
): Tensor => executeViews(op, inputs, attributes, [viewed])[0] as Tensor;

/** The same for an op of several outputs: for each, the input whose memory it is, or undefined where it has its own. */
export function executeViews(
  op: string,
  inputs: Tensor[],
  attributes: Attribute[],
  viewed: (Tensor | undefined)[],
): Tensor[] {
  const backend = tf.backend() as TensorflowBackend;
  const buffers = viewed.map((x) => x && backend.tensorMap.get(x.dataId).buffer);
  return backend.view(buffers, () => backend.executeMultipleOutputs(op, attributes, inputs, viewed.length));
}

/** The same for an op of `outputs` outputs (0 too). */
export const executeMany = (op: string, inputs: Tensor[], attributes: Attribute[], outputs: number): Tensor[] =>
  (tf.backend() as TensorflowBackend).executeMultipleOutputs(op, attributes, inputs, outputs);

/** A tensor's true dtype. */
export function dtypeOf(x: Tensor): DType {
  if (x.dtype !== 'float32') return x.dtype as DType;
  return onTensorflow() && (tf.backend() as TensorflowBackend).tensorMap.get(x.dataId).dtype === BFLOAT16
    ? 'bfloat16'
    : 'float32';
}

/** The same tensor once more, sharing its data: what one holder disposes of stays alive for the other. */
export function share(x: Tensor): Tensor {
  tf.backend().incRef(x.dataId);
  return tf.engine().makeTensorFromTensorInfo(x);
}

/** Whether nobody else has x's data or memory: no share of it, no view. Then who owns x may write over it. */
export function isSole(x: Tensor): boolean {
  if (!onTensorflow()) return false;
  const { refCount, buffer } = (tf.backend() as TensorflowBackend).tensorMap.get(x.dataId);
  return refCount === 1 && buffer?.holders === 1;
}

/** x as `dtype`; x itself, shared, where it is that already. Throws UserError for bfloat16 without TensorFlow. */
export function cast(x: Tensor, dtype: DType): Tensor {
  const from = dtypeOf(x);
  if (from === dtype) return share(x);
  if (!onTensorflow() && dtype !== 'bfloat16') return tf.cast(x, dtype);
  tensorflow();
  return execute('Cast', [x], [attr.type('SrcT', from), attr.type('DstT', dtype), attr.bool('Truncate', false)]);
}

/** A tensor's values in row-major order, bfloat16 widened to float32. Waits for the device. */
export async function read(x: Tensor): Promise<Float32Array | Int32Array | Uint8Array> {
  if (dtypeOf(x) !== 'bfloat16') return x.data();
  const wide = cast(x, 'float32');
  const values = await wide.data();
  wide.dispose();
  return values;
}
