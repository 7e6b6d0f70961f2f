/**
 * Run as a process of its own by fused.test.ts: opens TensorFlow with the number of threads that is its argument, runs
 * each fused op once on inputs large enough to be dealt out to several, and prints a hash of each output.
 */
import { createHash } from 'node:crypto';
import { keyOf, normals, openBackend, read } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import * as fused from '../src/fused.ts';

const random = (name: string, shape: number[], std = 1) => {
  const size = shape.reduce((product, side) => product * side, 1);
  return tf.tensor(normals(keyOf(1, name), 0, size, std), shape, 'float32');
};

async function hashOf(y: tf.Tensor): Promise<string> {
  const values = await read(y);
  return createHash('sha256')
    .update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    .digest('hex');
}

/** The outputs of all ops. The gates reach so far down that some results are denormal floats. */
function outputs(): tf.Tensor[] {
  const [x, dy, w] = [random('x', [1000, 129]), random('dy', [1000, 129]), random('w', [129])];
  const [y, r] = fused.rmsNorm(x, w, 1e-5);
  const gate = random('gate', [1000, 129], 40);
  const [cos, sin] = [random('cos', [150, 20]), random('sin', [150, 20])];
  const [q, dO] = [random('q', [2, 150, 6, 20]), random('do', [2, 150, 6, 20])];
  const [k, v] = [random('k', [2, 150, 2, 20]), random('v', [2, 150, 2, 20])];
  const form = { causal: true, scale: 0.3, kvHeads: 2, deterministic: true };
  const [qkv, gateUp] = [tf.concat([q, k, v], 2), tf.concat([gate, x], 1)];
  const [[o, lse], joined] = [fused.attention([q, k, v], form), fused.attention([qkv], form)];
  const saved = { dO, o, lse };
  const [logits, grad] = [random('logits', [1000, 1501]), random('grad', [50, 129])];
  const ids = tf.tensor1d(
    Array.from({ length: 1000 }, (_, n) => (n * n) % 50),
    'int32',
  );
  const [whole, lengths] = [random('whole', [2, 200, 6, 20]), random('lengths', [2, 6, 200])];
  const merged = fused.mergeAttention([whole, lengths], [q, random('part lengths', [2, 6, 150])], 50);
  const added = fused.addAt(random('sum', [2, 200, 6, 20]), q, 25);
  const stats = fused.logitStatistics(logits, ids, 30);
  const split = { first: 30, gradients: true, weight: 0.1 };
  const gathered = tf.concat([stats, stats]);
  const ofPart = fused.logitGradient(random('logits', [1000, 1501]), ids, gathered, split);
  return [
    ...[y, r, ...fused.rmsNormGrad(dy, x, w, r), ...fused.rmsNormGrad(dy, x, w, r, x)],
    ...[fused.swiglu(gateUp), fused.swigluGrad(dy, gateUp)],
    ...[
      fused.rope(qkv, cos, sin, { turned: 8, inverse: false }),
      fused.rope(qkv, cos, sin, { turned: 8, inverse: true }),
    ],
    ...[o, lse, ...fused.attentionGrad([q, k, v], saved, form)],
    ...[...joined, ...fused.attentionGrad([qkv], saved, form)],
    ...[...fused.crossEntropy(logits, ids, true, 0.1), fused.embeddingGrad(dy, ids, grad)],
    ...[stats, ...ofPart, fused.embedding(grad, ids, { first: 10, words: 50 })],
    ...[...merged, added],
  ];
}

async function main(): Promise<void> {
  await openBackend({ device: 'cpu', threads: Number(process.argv[2]) });
  console.log(JSON.stringify(await Promise.all(outputs().map(hashOf))));
}

await main();
