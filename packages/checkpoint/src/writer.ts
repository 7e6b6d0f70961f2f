/**
 * Writes a rank's safetensors files on a thread of their own, one after the other, and keeps the memory of the last one
 * for the next: a gigabyte of new memory would cost the training thread as much time as copying into it.
 *
 * A file's tensors lie side by side in a few large arrays, so that a GPU can be let into all of that memory at once
 * (runtime's copy-out.ts).
 */
import { Worker } from 'node:worker_threads';
import { unpin } from '@fourfold/runtime';
import { ARRAYS, asBytes, type DType } from './header.ts';
import { partsOf, type StoredTensor } from './safetensors.ts';

/** What of a file is on the disk, or why it isn't. */
export type Written = { readonly bytes: number; readonly sha256: string } | { readonly problem: string };

/** A thread's answer: the file's parts come back, for their memory to be used again. */
interface Done {
  readonly written: Written;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
}

/** Bytes of an array of memory that small tensors share; one of more than LARGE has its own. */
const [BLOCK, LARGE] = [2 ** 26, 2 ** 22];
/** Small tensors begin at multiples of it. */
const ALIGNED = 64;

export class Writer {
  #thread: Worker | undefined;
  /** Memory that is here, each array with the name of the first tensor that was in it. */
  #spare = new Map<string, ArrayBuffer>();
  /** What small tensors are put into, and the first name in each array of the file that is being filled. */
  #block = { memory: new ArrayBuffer(0), used: 0 };
  #firsts: string[] = [];

  /** Forgets the tensors that were not written: the next ones are another file's. */
  begin(): void {
    this.#block = { memory: new ArrayBuffer(0), used: 0 };
    this.#firsts = [];
  }

  /** A tensor of so many elements, to be filled and written with others. Its memory may hold anything. */
  tensor(name: string, dtype: DType, elements: number): StoredTensor {
    const bytes = elements * ARRAYS[dtype].BYTES_PER_ELEMENT;
    const array = (memory: ArrayBuffer, at: number): StoredTensor => ({
      ...{ dtype, shape: [elements], data: new ARRAYS[dtype](memory, at, elements) },
    });
    if (bytes > LARGE) return array(this.#memory(name, bytes), 0);
    if (this.#block.used + bytes > this.#block.memory.byteLength)
      this.#block = { memory: this.#memory(name, BLOCK), used: 0 };
    const at = this.#block.used;
    this.#block.used = Math.ceil((at + bytes) / ALIGNED) * ALIGNED;
    return array(this.#block.memory, at);
  }

  /** Memory that begins with the tensor of this name: what did so the last time, if it is as large. */
  #memory(name: string, bytes: number): ArrayBuffer {
    const spare = this.#spare.get(name);
    this.#firsts.push(name);
    return spare?.byteLength === bytes ? spare : new ArrayBuffer(bytes);
  }

  /** Writes a file and syncs it. Never fails: what went wrong is the result. The tensors are empty from now on. */
  async write(path: string, tensors: ReadonlyMap<string, StoredTensor>): Promise<Written> {
    this.#thread ??= new Worker(new URL('./write-thread.mjs', import.meta.url), { execArgv: [] });
    const thread = this.#thread;
    thread.ref(); // the process must not end before the file is there
    const { sorted, parts } = partsOf(tensors, {});
    const bytes = parts.map(asBytes);
    const firsts = this.#firsts;
    this.begin();
    this.#spare = new Map();
    thread.postMessage({ path, parts: bytes }, [...new Set(bytes.map(({ buffer }) => buffer as ArrayBuffer))]);
    const { done, problem } = await answerOf(thread);
    if (!done) {
      this.#thread = undefined; // it is gone, and the memory with it: the next file gets another
      unpin();
      return { problem };
    }
    thread.unref();
    const buffers = done.parts.slice(-sorted.length).map(({ buffer }) => buffer);
    const memoryOf = new Map(sorted.map(([name], i) => [name, buffers[i] as ArrayBuffer]));
    this.#spare = new Map(firsts.map((name) => [name, memoryOf.get(name) as ArrayBuffer]));
    return done.written;
  }

  async close(): Promise<void> {
    unpin();
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
