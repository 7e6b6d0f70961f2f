/** What a collective computes, on tensors that lie in one process: the definition that every transport is held to. */
import { cast, dtypeOf } from '@fourfold/runtime/tensorflow';
import { constant } from '@fourfold/runtime/without-waiting';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import type { Reduction } from './calls.ts';

/**
 * The sum, mean or largest of several tensors, in their order: ((x0 + x1) + x2) + x3. bfloat16 is added in float32 and
 * rounded once, at the end: eight bits of a running sum would lose what is small.
 */
export function reduceTensors(xs: readonly Tensor[], reduction: Reduction): Tensor {
  return tf.tidy(() => {
    const dtype = dtypeOf(xs[0] as Tensor);
    const wide = xs.map((x) => (dtype === 'bfloat16' ? cast(x, 'float32') : x));
    const total = wide.reduce((sofar, x) => (reduction === 'max' ? tf.maximum(sofar, x) : tf.add(sofar, x)));
    return cast(reduction === 'mean' ? tf.div(total, constant([xs.length], [])) : total, dtype);
  });
}

/** x / n, in place of x, which is disposed of. */
export function divided(x: Tensor, n: number): Tensor {
  const y = tf.tidy(() => cast(tf.div(cast(x, 'float32'), constant([n], [])), dtypeOf(x)));
  x.dispose();
  return y;
}
