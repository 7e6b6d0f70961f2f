/**
 * Opens the backend with each of the options given as JSON, one after the other, multiplies two matrices, and prints
 * what came of it as a line of JSON. A process has one backend, so every test of it needs its own.
 */
import { readdirSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { type Backend, type BackendOptions, openBackend } from '../src/backend.ts';

export interface Report {
  /** Node's version. */
  readonly node: string;
  /** What each call gave: a backend, or an error's name and message. */
  readonly opened: (Backend | { error: string; message: string })[];
  /** tfjs's name of the backend that did it. */
  readonly engine: string;
  readonly product: unknown;
  /** Threads of the process, where Linux tells. */
  readonly threads: number;
}

const opened: Report['opened'][number][] = [];
for (const options of JSON.parse(process.argv[2] ?? '[]') as BackendOptions[])
  opened.push(await openBackend(options).catch(({ name, message }: Error) => ({ error: name, message })));
const works = opened.some((one) => 'device' in one);
const [a, b] = works ? [tf.tensor2d([1, 2, 3, 4], [2, 2]), tf.tensor2d([5, 6, 7, 8], [2, 2])] : [];
const report: Report = {
  node: process.versions.node,
  opened,
  engine: works ? tf.getBackend() : 'none',
  product: a && b ? await tf.matMul(a, b).array() : undefined,
  threads: process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0,
};
console.log(JSON.stringify(report));
