/**
 * What stands between those who want text and those who compute it.
 *
 *     engine, serve, chat, generate      requests, sampling, stop strings: they know tokens
 *     ─────────── Decoder ───────────
 *     one rank, or a root and workers    weights, caches, collectives: they know tensors
 *
 * A decoder holds `slots` sequences at once, each with its cache of keys and values. A step takes rows, each of which
 * is one token of one slot at one position: a prompt's tokens are many rows of one slot, eight answers that go on are
 * eight rows of eight slots, and one step may hold both.
 */

/** One token of one sequence: what a step computes. */
export interface Row {
  /** Its id. */
  readonly token: number;
  /** Which sequence, from 0. */
  readonly slot: number;
  /** Where in it, from 0. The rows of a slot come in order, each right after what its cache holds, or over it. */
  readonly position: number;
  /**
   * What is wanted of the logits of the token that follows: nothing; so many of the likeliest; or all. All of them
   * travel from the ranks that have them, which costs bytes: 4·V·(n-1)/n.
   */
  readonly wanted: 'nothing' | 'all' | number;
}

/** The logits of one row that wanted some. */
export interface Logits {
  /** The tokens whose logits these are, likeliest first, lower ids before equals; absent where all are here. */
  readonly ids?: Int32Array;
  /** float32, in the order of `ids`, or by id. */
  readonly values: Float32Array;
  /** log Σ exp(logit) over the whole vocabulary: a token's log-probability is its logit minus this. */
  readonly logSumExp: number;
}

/** What a step cost, as the root saw it. */
export interface StepCost {
  /** Milliseconds of the whole step. */
  readonly total: number;
  /** Of them, milliseconds in which this rank waited for others. */
  readonly transfer: number;
  /** Bytes that this rank sent. */
  readonly sent: number;
  /** Bytes that this rank received. */
  readonly received: number;
}

/** A model that computes some rows at a time, on however many ranks. */
export interface Decoder {
  /** V, how many tokens it knows. */
  readonly vocabulary: number;
  /** How many sequences it can hold at once. */
  readonly slots: number;
  /** Positions that a slot's cache holds. */
  readonly maxSeqLength: number;
  /** The most rows of one step. */
  readonly maxRows: number;
  /** How many ranks share the model. */
  readonly ranks: number;
  /**
   * Computes the rows, whose keys and values then are in their slots' caches. The logits of those that want some. Where
   * it fails, what all slots held is lost.
   *
   * @throws UserError where a row can't be computed, which loses nothing; RunError where a rank is lost
   */
  step(rows: readonly Row[]): Promise<Logits[]>;
  /** Copies what slot `from` holds of its first `length` positions to slot `to`: for prompts that begin alike. */
  copySlot(from: number, to: number, length: number): Promise<void>;
  /** Of the last step. */
  readonly cost: StepCost;
  /** Calls `listener` when a rank is lost, also between steps: nothing can be computed from then on. */
  onLost?(listener: (error: Error) => void): void;
  /** Ends it, on all ranks. */
  close(): Promise<void>;
}
