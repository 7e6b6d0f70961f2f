/**
 * How much memory tensors take: figures for the step line. How much there is, machine-memory.ts says.
 */
import * as tf from '@tensorflow/tfjs-core';
import { onTensorflow, tensorflow } from './tensorflow.ts';

/** What tensors take. */
export interface MemoryFigures {
  /** Tensors alive, as tfjs counts them. */
  tensors: number;
  /** Bytes that tensors hold now, at their true dtypes. */
  bytes: number;
  /** The most they held since the last `resetPeak` (on wasm, which reports no peak, the same as `bytes`). */
  peakBytes: number;
  /** With CUDA: the most that TensorFlow took of the GPU since then, workspaces of kernels included. */
  devicePeakBytes?: number;
}

/** What tensors take now, and the most that they took. */
export function memory(): MemoryFigures {
  const { numTensors, numBytes } = tf.memory();
  if (!onTensorflow()) return { tensors: numTensors, bytes: numBytes, peakBytes: numBytes };
  const { memoryBytes, cuda } = tensorflow();
  const device = cuda ? { devicePeakBytes: cuda.memory().peak } : {};
  return { tensors: numTensors, bytes: memoryBytes.now, peakBytes: memoryBytes.peak, ...device };
}

/** Starts measuring the peak anew. */
export function resetPeak(): void {
  if (!onTensorflow()) return;
  const { memoryBytes, cuda } = tensorflow();
  memoryBytes.peak = memoryBytes.now;
  cuda?.resetPeak();
}
