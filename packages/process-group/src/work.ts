/**
 * A collective that has been started: a promise that knows since when somebody waits for it.
 *
 *     const pending = tp.allReduce(dx)          // on the wire from here
 *     weight.accumulate(matmul(x, dy, 'tn'))    // computes meanwhile
 *     const sum = await pending                 // waits from here: `onWait` runs now
 *
 * `await` and Promise.all both call `then`, so that is where waiting begins. Three things need to know of it: the time
 * that communication really cost (what is hidden behind computing costs nothing), NCCL, whose result the GPU's compute
 * stream must not read before it is there, and the search for deadlocks. PyTorch calls the same thing Work, and has
 * work.wait() where we have await.
 */
export class Work<T> extends Promise<T> {
  #onWait: (() => void) | undefined;

  /** What `then` and `catch` return is a plain promise: only the collective itself is one. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  /** The work whose result is `running`'s. */
  static of<T>(running: Promise<T>, onWait: () => void): Work<T> {
    const work = new Work<T>((resolve, reject) => void running.then(resolve, reject));
    // A rank that stops at one failed collective never awaits the others it has started: that is no second error.
    Promise.prototype.then.call(work, undefined, () => {});
    work.#onWait = onWait;
    return work;
  }

  // biome-ignore lint/suspicious/noThenProperty: a promise has it
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#onWait?.();
    this.#onWait = undefined;
    return super.then(onFulfilled, onRejected);
  }
}
