/**
 * The kernels that the layers are written in, one function each, on every backend.
 *
 * On TensorFlow each runs one registered op directly, at the tensors' true dtype (float32 or bfloat16): about half of
 * what the same call costs through tfjs-core. On wasm, and wherever else tfjs runs, it is tfjs-core's function.
 *
 * Results are new tensors that the caller owns, or that the enclosing tf.tidy frees.
 */
// biome-ignore format: a list
import {
  type Attribute, attr, cast, constant, type DType, dtypeOf, execute, executeView, hasFusedProducts, onTensorflow,
  share,
} from '@fourfold/runtime';
import { concat, ints, ofDType, reshape, slice, transpose } from '@fourfold/runtime/shapes';
import { parts, stack } from '@fourfold/runtime/together';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';

export { concat, parts, reshape, share, slice, stack, transpose };

/** The one attribute of most ops: their dtype. Such lists are made once, not at every call. */
const T = ofDType((t) => [attr.type('T', t)]);

// ## Element by element

/** A kernel of one tensor: the op at x's true dtype, or tfjs-core's function. */
const unary =
  (op: string, stock: (x: Tensor) => Tensor) =>
  (x: Tensor): Tensor =>
    onTensorflow() ? execute(op, [x], T[dtypeOf(x)]) : stock(x);

/** The same of two tensors. */
const binary =
  (op: string, stock: (a: Tensor, b: Tensor) => Tensor) =>
  (a: Tensor, b: Tensor): Tensor =>
    onTensorflow() ? execute(op, [a, b], T[dtypeOf(a)]) : stock(a, b);

/** x², element by element. */
export const square = unary('Square', tf.square);
/** 1 / (1 + e^-x). */
export const sigmoid = unary('Sigmoid', tf.sigmoid);
/** 1 / √x. */
export const rsqrt = unary('Rsqrt', tf.rsqrt);
/** e^x. */
export const exp = unary('Exp', tf.exp);
/** The natural logarithm. */
export const log = unary('Log', tf.log);
/** log(1 + e^x). */
export const softplus = unary('Softplus', tf.softplus);
/** -x. */
export const neg = unary('Neg', tf.neg);
/** Shapes broadcast as in NumPy; both of one dtype. */
export const add = binary('AddV2', tf.add);
/** a - b; shapes broadcast. */
export const sub = binary('Sub', tf.sub);
/** a · b; shapes broadcast. */
export const mul = binary('Mul', tf.mul);
/** Of (s, dy): dy · s · (1 - s), the gradient by x of s = sigmoid(x). */
export const sigmoidGrad = binary('SigmoidGrad', (s, dy) => tf.tidy(() => tf.mul(dy, tf.mul(s, tf.sub(1, s)))));

/** x · factor; x itself, shared, where the factor is 1. The factor is a float32 whatever x is. */
export function scale(x: Tensor, factor: number): Tensor {
  if (factor === 1) return share(x);
  return tf.tidy(() => cast(mul(cast(x, 'float32'), constant([factor], [])), dtypeOf(x)));
}

/** A 0-d tensor of this value, rounded to `dtype`. */
export const scalar = (value: number, dtype: DType = 'float32'): Tensor =>
  tf.tidy(() => cast(constant([value], []), dtype));

// ## Along an axis

const REDUCE = [true, false].map((keep) =>
  ofDType((t) => [attr.bool('keep_dims', keep), attr.type('T', t), attr.type('Tidx', 'int32')]),
);

/** A kernel that leaves out one axis, or keeps it with length 1. */
const reduction =
  (op: string, stock: (x: Tensor, axis: number, keep: boolean) => Tensor) =>
  (x: Tensor, axis: number, keepDims = false): Tensor => {
    if (!onTensorflow()) return stock(x, axis, keepDims);
    const axes = ints(axis);
    const y = execute(op, [x, axes], (REDUCE[keepDims ? 0 : 1] as Record<DType, Attribute[]>)[dtypeOf(x)]);
    axes.dispose();
    return y;
  };

/** The sum along one axis, which stays with length 1 if `keepDims`. */
export const sum = reduction('Sum', tf.sum);
/** The mean along one axis. */
export const mean = reduction('Mean', tf.mean);
/** The largest along one axis. */
export const max = reduction('Max', tf.max);
/** Softmax over the last axis. */
export const softmax = unary('Softmax', (x) => tf.softmax(x));
/** log softmax over the last axis. */
export const logSoftmax = unary('LogSoftmax', (x) => tf.logSoftmax(x));

// ## Products

/** Which of a product's factors is read transposed: neither, the second, the first. */
export type Form = 'nn' | 'nt' | 'tn';
/** Attributes of TensorFlow's products: MatMul for matrices, BatchMatMulV2 for more axes, by form and dtype. */
const PRODUCT: Record<Form, { plain: Record<DType, Attribute[]>; batched: Record<DType, Attribute[]> }> = {
  nn: product(false, false),
  nt: product(false, true),
  tn: product(true, false),
};
/** Whether a and b are read transposed, for both ops and all dtypes. */
function product(a: boolean, b: boolean) {
  return {
    plain: ofDType((t) => [attr.bool('transpose_a', a), attr.bool('transpose_b', b), attr.type('T', t)]),
    batched: ofDType((t) => [attr.bool('adj_x', a), attr.bool('adj_y', b), attr.type('T', t)]),
  };
}

/**
 * a · b over the last two axes, with a ('tn') or b ('nt') read transposed, which costs nothing.
 *
 * Two dimensions, or more with equal leading ones.
 */
export function matmul(a: Tensor, b: Tensor, form: Form = 'nn'): Tensor {
  if (hasFusedProducts() && a.rank === 2) return execute('FourfoldProduct', [a, b], fusedProduct(form, a));
  if (!onTensorflow()) return tf.tidy(() => tf.matMul(turnedIf(form === 'tn', a), turnedIf(form === 'nt', b)));
  return a.rank === 2
    ? execute('MatMul', [a, b], PRODUCT[form].plain[dtypeOf(a)])
    : execute('BatchMatMulV2', [a, b], PRODUCT[form].batched[dtypeOf(a)]);
}

/** base + a · b, for matrices of one dtype. On a GPU the product adds base itself, where add would read both again. */
export function matmulOnto(base: Tensor, a: Tensor, b: Tensor, form: Form = 'nn'): Tensor {
  if (hasFusedProducts())
    return execute('FourfoldProduct', [a, b, base], fusedProduct(form, a, { added: 1, result: dtypeOf(base) }));
  return tf.tidy(() => add(base, matmul(a, b, form)));
}

/**
 * sum + a · b in the sum's dtype, for matrices of any dtype, or a · b in `dtype` where there is no sum yet. A GPU
 * writes over the sum, so nobody may read it afterwards; it stays the caller's to dispose of.
 */
export function matmulInto(
  sum: Tensor | undefined,
  a: Tensor,
  b: Tensor,
  form: Form = 'nn',
  dtype: DType = sum ? dtypeOf(sum) : 'float32',
): Tensor {
  if (!hasFusedProducts()) {
    const own = matmul(a, b, form);
    const product = cast(own, dtype);
    own.dispose(); // before there is a third one as large
    if (!sum) return product;
    const total = add(sum, product);
    product.dispose();
    return total;
  }
  if (!sum) return execute('FourfoldProduct', [a, b], fusedProduct(form, a, { result: dtype }));
  const inPlace = { added: 1, inPlace: true, result: dtype };
  return executeView('FourfoldProduct', [a, b, sum], fusedProduct(form, a, inPlace), sum);
}

/** What native/cuda's product can do beside multiplying. */
interface FusedProduct {
  /** How many tensors are added: 0 or 1. */
  readonly added?: number;
  readonly inPlace?: boolean;
  readonly result?: DType;
}

/** Its attributes. U is the result's dtype, which may be wider than the factors'. */
const fusedProduct = (
  form: Form,
  a: Tensor,
  { added = 0, inPlace = false, result = dtypeOf(a) }: FusedProduct = {},
) => [
  attr.type('T', dtypeOf(a)),
  attr.type('U', result),
  attr.int('M', added),
  attr.bool('transpose_a', form === 'tn'),
  attr.bool('transpose_b', form === 'nt'),
  attr.bool('in_place', inPlace),
];

/** x with its last two axes exchanged in memory: wasm's own product of transposed operands is three times slower. */
function turnedIf(yes: boolean, x: Tensor): Tensor {
  if (!yes) return x;
  const axes = x.shape.map((_, i) => i);
  return tf.transpose(x, [...axes.slice(0, -2), x.rank - 1, x.rank - 2]);
}

// ## Places

const ROLL = ofDType((t) => [attr.type('T', t), attr.type('Tshift', 'int32'), attr.type('Taxis', 'int32')]);
/** x with the two halves of its last axis exchanged. */
export function swapHalves(x: Tensor): Tensor {
  const axis = x.rank - 1;
  const half = (x.shape[axis] as number) / 2;
  if (!onTensorflow()) return tf.tidy(() => tf.concat(tf.split(x, 2, axis).reverse(), axis));
  const [shift, axisTensor] = [ints(half), ints(axis)];
  const y = execute('Roll', [x, shift, axisTensor], ROLL[dtypeOf(x)]);
  tf.dispose([shift, axisTensor]);
  return y;
}

// ## Rows by number

const GATHER = ofDType((t) => [
  attr.type('Tparams', t),
  attr.type('Tindices', 'int32'),
  attr.type('Taxis', 'int32'),
  attr.int('batch_dims', 0),
]);
/** Rows ids_N (int32) of table_VD: [N, D]. */
export function takeRows(table_VD: Tensor, ids_N: Tensor): Tensor {
  if (!onTensorflow()) return tf.gather(table_VD, ids_N as tf.Tensor1D);
  const axis = tf.scalar(0, 'int32');
  const rows_ND = execute('GatherV2', [table_VD, ids_N, axis], GATHER[dtypeOf(table_VD)]);
  axis.dispose();
  return rows_ND;
}

/** UnsortedSegmentSum's. */
const SEGMENTS = ofDType((t) => [
  attr.type('T', t),
  attr.type('Tindices', 'int32'),
  attr.type('Tnumsegments', 'int32'),
]);
/** A [rows, D] tensor where row v is the sum of all rows of x_ND whose id is v. */
export function addRows(x_ND: Tensor, ids_N: Tensor, rows: number): Tensor {
  const [, D = 0] = x_ND.shape;
  if (!onTensorflow()) return tf.tidy(() => tf.scatterND(tf.reshape(ids_N, [ids_N.size, 1]), x_ND, [rows, D]));
  const count = tf.scalar(rows, 'int32');
  const sums_VD = execute('UnsortedSegmentSum', [x_ND, ids_N, count], SEGMENTS[dtypeOf(x_ND)]);
  count.dispose();
  return sums_VD;
}

/** The pairs (n, ids_N[n]): one place in each row n, int32 [N, 2]. */
export const placesOf = (ids_N: Tensor): Tensor =>
  tf.tidy(() => tf.stack([tf.range(0, ids_N.size, 1, 'int32'), ids_N], 1));

/** Places are int32. */
const AT_PLACES = attr.type('Tindices', 'int32');
/** The elements of x_NV at these places: [N]. */
export const pick = (x_NV: Tensor, places_N2: Tensor): Tensor =>
  onTensorflow()
    ? execute('GatherNd', [x_NV, places_N2], [attr.type('Tparams', dtypeOf(x_NV)), AT_PLACES])
    : tf.gatherND(x_NV, places_N2);

/** A copy of x_NV with `updates_N` written at these places. */
export const put = (x_NV: Tensor, places_N2: Tensor, updates_N: Tensor): Tensor =>
  onTensorflow()
    ? execute('TensorScatterUpdate', [x_NV, places_N2, updates_N], [...T[dtypeOf(x_NV)], AT_PLACES])
    : tf.tensorScatterUpdate(x_NV, places_N2, updates_N);
