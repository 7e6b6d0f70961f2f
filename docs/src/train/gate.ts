/** A gate that stops whoever passes while it is closed, until it is opened again. */
export class Gate {
  #opened: Promise<void> = Promise.resolve();
  #open: (() => void) | undefined;

  close(): void {
    if (this.#open) return;
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#open?.();
    this.#open = undefined;
  }

  /** Ends when the gate is open. */
  pass(): Promise<void> {
    return this.#opened;
  }
}
