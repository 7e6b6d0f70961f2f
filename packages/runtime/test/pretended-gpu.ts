/**
 * A GPU that is none, as `@fourfold/runtime/testing/pretended-gpu`: the code for CUDA runs, on TensorFlow's CPU, and
 * what would have made JavaScript wait for a GPU is written down.
 *
 *     await pretendGpu(async (gpu) => {
 *       await step()
 *       expect(gpu.waits).toEqual([])
 *     })
 *
 * TensorFlow keeps int32 numbers that JavaScript makes in the host's memory, and copies all others to the GPU behind
 * everything that is enqueued there, for which the caller waits. It copies as well, and as slowly, where a kernel wants
 * int32 in the GPU's memory, or the host's memory what a kernel left in the GPU's. And reading waits. The ops that CUDA
 * alone has are put together here from the CPU's, in float32: bfloat16 would take the stock kernels on a CPU.
 */
import type { CudaModule } from '../src/cuda.ts';
import { type Attribute, attr, type Binding, type DType, TYPE_NUMBER, tensorflow } from '../src/tensorflow.ts';

type Handle = ReturnType<Binding['executeOp']>[number];
/** What of tfjs-node's binding is watched. */
interface WholeBinding extends Binding {
  createTensor(shape: number[], dtype: number, values: unknown): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array;
}

/** Ops whose GPU kernels take all their int32 inputs from the host's memory, and leave int32 results there. */
const ON_HOST = new Set([
  ...['Reshape', 'Slice', 'Transpose', 'ConcatV2', 'Sum', 'Mean', 'Max', 'Pad', 'Empty', 'SplitV', 'ExpandDims'],
  ...['FourfoldUpload', 'FourfoldParts', 'FourfoldEmbedding', 'FourfoldEmbeddingGrad', 'FourfoldCrossEntropy'],
  ...['FourfoldLogitStatistics', 'FourfoldLogitGradient', 'FourfoldSquaredNorm', 'FourfoldAdamW'],
]);

/** Runs `work` as if the backend, which must be TensorFlow on the CPU, had CUDA. */
export async function pretendGpu<R>(work: (gpu: PretendedGpu) => Promise<R>): Promise<R> {
  const backend = tensorflow();
  const { binding, cuda, isUsingGpuDevice } = backend;
  const gpu = new PretendedGpu(binding as WholeBinding);
  Object.assign(backend, { binding: gpu.binding(), cuda: gpu.module(), isUsingGpuDevice: true });
  try {
    return await work(gpu);
  } finally {
    Object.assign(backend, { binding, cuda, isUsingGpuDevice });
  }
}

const nameOf = (dtype: number): string =>
  Object.entries(TYPE_NUMBER).find(([, number]) => number === dtype)?.[0] ?? `${dtype}`;
const isFloat = (dtype: number): boolean => dtype === TYPE_NUMBER.float32 || dtype === TYPE_NUMBER.bfloat16;

type Landing = Parameters<CudaModule['aim']>;

export class PretendedGpu {
  /** What would have waited: 'float32 [2,3] made by JavaScript'. */
  readonly waits: string[] = [];
  /** How often each op was run. */
  readonly calls = new Map<string, number>();
  /** For how many milliseconds numbers that were copied out have been there. */
  ago = 0;
  readonly #cpu: WholeBinding;
  /** Tensors of int32, all in the host's memory, in words; those not known here are older, and floats. */
  readonly #onHost = new Map<number, string>();
  readonly #copies: Float32Array[] = [];
  /** Where the next copy goes. */
  #landing: Landing | undefined;

  constructor(cpu: WholeBinding) {
    this.#cpu = cpu;
  }

  /** Begins anew: what was before is none of the test's business. */
  forget(): void {
    this.waits.length = 0;
    this.calls.clear();
  }

  /** The binding with its three doors watched. */
  binding(): WholeBinding {
    const watched: Pick<WholeBinding, 'createTensor' | 'tensorDataSync' | 'executeOp'> = {
      createTensor: (shape, dtype, values) => {
        if (dtype !== TYPE_NUMBER.int32) this.waits.push(`${nameOf(dtype)} [${shape}] made by JavaScript`);
        return this.#known(this.#cpu.createTensor(shape, dtype, values), shape, dtype);
      },
      tensorDataSync: (id) => {
        if (!this.#onHost.has(id)) this.waits.push('a tensor is read');
        return this.#cpu.tensorDataSync(id);
      },
      executeOp: (op, attributes, inputs, outputs) => this.#execute(op, attributes, inputs, outputs),
    };
    const doors = Object.entries(watched).map(([name, value]) => [name, { value }]);
    return Object.create(this.#cpu, Object.fromEntries(doors)) as WholeBinding;
  }

  /** What JavaScript sees of the CUDA module. */
  module() {
    const copied = async () => ({ numbers: this.#copies.shift() as Float32Array, ago: this.ago });
    const memory = () => ({ now: 0, peak: 0 });
    const aim = (...landing: Landing) => {
      this.#landing = landing;
    };
    const landings = { aim, arrived: async () => {}, unpin: () => {} };
    return {
      ...landings,
      copied,
      memory,
      resetPeak: () => {},
      mark: () => {},
      marks: () => [],
      dtypes: () => ['float32'],
    };
  }

  #known(id: number, shape: readonly number[], dtype: number): number {
    if (isFloat(dtype)) this.#onHost.delete(id);
    else this.#onHost.set(id, `${nameOf(dtype)} [${shape}]`);
    return id;
  }

  #execute(op: string, attributes: Attribute[], inputs: number[], outputs: number): Handle[] {
    this.calls.set(op, (this.calls.get(op) ?? 0) + 1);
    const emulated = this.#emulated[op];
    const results = emulated ? emulated(inputs, attributes) : this.#cpu.executeOp(op, attributes, inputs, outputs);
    if (!ON_HOST.has(op)) {
      const taken = inputs.flatMap((id) => this.#onHost.get(id) ?? []);
      this.waits.push(...taken.map((what) => `${op} takes ${what} to the GPU`));
      const given = results.filter(({ dtype }) => !isFloat(dtype));
      this.waits.push(...given.map(({ dtype, shape }) => `${op} leaves ${nameOf(dtype)} [${shape}] in the GPU`));
    }
    for (const { id, shape, dtype } of results) this.#known(id, shape, dtype);
    return results;
  }

  // ## What CUDA alone has

  readonly #emulated: Readonly<Record<string, (inputs: number[], attributes: Attribute[]) => Handle[]>> = {
    FourfoldUpload: (inputs) => this.#run('Bitcast', inputs, { T: 'int32', type: 'float32' }),
    FourfoldCopyOut: ([x = 0]) => {
      this.#copies.push(this.#cpu.tensorDataSync(x) as Float32Array);
      return [];
    },
    FourfoldCopyInto: ([x = 0]) => {
      const [target, at, from, bytes] = this.#landing as Landing;
      const { buffer, byteOffset } = this.#cpu.tensorDataSync(x);
      new Uint8Array(target, at, bytes).set(new Uint8Array(buffer as ArrayBuffer, byteOffset + from, bytes));
      return [];
    },
    FourfoldProduct: ([a = 0, b = 0, base], attributes) => {
      const turned = ['transpose_a', 'transpose_b'].map((name) => attributes.find((one) => one.name === name));
      const [product] = this.#run('MatMul', [a, b], { T: 'float32' }, turned as Attribute[]) as [Handle];
      if (base === undefined) return [product];
      const sum = this.#run('AddV2', [base, product.id], { T: 'float32' });
      this.#cpu.deleteTensor(product.id);
      return sum;
    },
  };

  #run(op: string, inputs: number[], types: Record<string, DType>, others: Attribute[] = []): Handle[] {
    const typed = Object.entries(types).map(([name, dtype]) => attr.type(name, dtype));
    return this.#cpu.executeOp(op, [...typed, ...others], inputs, 1);
  }
}
