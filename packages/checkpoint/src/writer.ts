/**
 * Writes a rank's safetensors files on a thread of their own, one after the other, and keeps the memory of the last one
 * for the next: a gigabyte of new memory would cost the training thread as much time as copying into it.
 */
import { Worker } from 'node:worker_threads';
import { ARRAYS, asBytes, type DType } from './header.ts';
import { partsOf, type StoredTensor } from './safetensors.ts';

/** What of a file is on the disk, or why it isn't. */
export type Written = { readonly bytes: number; readonly sha256: string } | { readonly problem: string };

/** A thread's answer: the file's parts come back, for their memory to be used again. */
interface Done {
  readonly written: Written;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
}

export class Writer {
  #thread: Worker | undefined;
  #spare = new Map<string, StoredTensor>();

  /** A tensor of so many elements, to be filled and written: that of this name in the last file, if it fits. */
  tensor(name: string, dtype: DType, elements: number): StoredTensor {
    const spare = this.#spare.get(name);
    if (spare?.dtype === dtype && spare.data.length === elements) return spare;
    return { dtype, shape: [elements], data: new ARRAYS[dtype](elements) };
  }

  /** Writes a file and syncs it. Never fails: what went wrong is the result. The tensors are empty from now on. */
  async write(path: string, tensors: ReadonlyMap<string, StoredTensor>): Promise<Written> {
    this.#thread ??= new Worker(new URL('./write-thread.mjs', import.meta.url), { execArgv: [] });
    const thread = this.#thread;
    thread.ref(); // the process must not end before the file is there
    const { sorted, parts } = partsOf(tensors, {});
    const bytes = parts.map(asBytes);
    thread.postMessage({ path, parts: bytes }, [...new Set(bytes.map(({ buffer }) => buffer as ArrayBuffer))]);
    const { done, problem } = await answerOf(thread);
    if (!done) {
      [this.#thread, this.#spare] = [undefined, new Map()]; // it is gone: the next file gets another
      return { problem };
    }
    thread.unref();
    const buffers = done.parts.slice(-sorted.length).map(({ buffer }) => buffer);
    const backOf = ({ dtype, shape }: StoredTensor, i: number) => {
      const data = new ARRAYS[dtype](buffers[i] as ArrayBuffer);
      return { dtype, shape, data };
    };
    this.#spare = new Map(sorted.map(([name, tensor], i) => [name, backOf(tensor, i)]));
    return done.written;
  }

  async close(): Promise<void> {
    this.#spare.clear();
    await this.#thread?.terminate();
    this.#thread = undefined;
  }
}

/** What a thread answers, or why it ended instead. */
function answerOf(thread: Worker): Promise<{ done?: Done; problem: string }> {
  return new Promise((resolve) => {
    const listeners = {
      message: (done: Done) => settle({ done, problem: '' }),
      error: (error: Error) => settle({ problem: error.message }),
      exit: (code: number) => settle({ problem: `the writing thread ended with ${code}` }),
    };
    const settle = (answer: { done?: Done; problem: string }) => {
      for (const [event, listener] of Object.entries(listeners)) thread.off(event, listener);
      resolve(answer);
    };
    for (const [event, listener] of Object.entries(listeners)) thread.on(event, listener);
  });
}
