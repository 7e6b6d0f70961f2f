/** The tensor backend of figures: tfjs's own in plain JavaScript, there at once, and fast for small matrices. */
import * as tf from '@tensorflow/tfjs-core';

/** Loads it, the first time, and makes it tfjs's. */
export async function openCpu(): Promise<void> {
  await import('@tensorflow/tfjs-backend-cpu');
  if (!(await tf.setBackend('cpu'))) throw new Error("tfjs's cpu backend did not start");
}
