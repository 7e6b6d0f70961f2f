/**
 * What the decoder's slots hold, and which of them a new prompt takes.
 *
 * A slot whose sequence ended keeps its keys and values. Where a new prompt begins as that sequence did, as a chat's
 * next question does, or a question under the same system prompt, those positions needn't be computed again:
 *
 *     slot 0   You are a helpful ... Who was Ahab? A captain.         the chat so far
 *     prompt   You are a helpful ... Who was Ahab? A captain. And Ishmael?
 *              ───────────── reused ────────────────────────           only the rest is computed
 *
 * The longest common beginning wins, of running sequences too. Where a slot would lose what only it holds, the
 * beginning is copied to the slot that was used least recently. "RadixAttention" (Zheng et al., SGLang, 2024) keeps
 * all beginnings in a tree; a few slots need no tree.
 */

export interface Slot {
  readonly index: number;
  /** The tokens whose keys and values it holds, by position. */
  readonly tokens: number[];
  isFree: boolean;
  /** When it was used last: larger is later. */
  lastUsed: number;
}

/** Where a prompt goes: the slot, and how many of its first tokens it has, after `copyFrom` was copied there. */
export interface Place {
  readonly slot: Slot;
  readonly reused: number;
  readonly copyFrom?: Slot | undefined;
}

export class Slots {
  readonly all: readonly Slot[];
  #clock = 0;

  constructor(count: number) {
    this.all = Array.from({ length: count }, (_, index) => ({ index, tokens: [], isFree: true, lastUsed: 0 }));
  }

  /** The place for a prompt, or undefined where no slot is free. Its last token is always computed: it tells first. */
  placeFor(prompt: readonly number[]): Place | undefined {
    const free = this.all.filter(({ isFree }) => isFree).sort((a, b) => a.lastUsed - b.lastUsed);
    const [oldest] = free;
    if (!oldest) return undefined;
    const most = prompt.length - 1;
    const reusedOf = (slot: Slot): number => Math.min(most, commonLength(slot.tokens, prompt));
    // Of equals a free one, and of those the one that is all beginning.
    const rank = (slot: Slot): number[] => [reusedOf(slot), slot.isFree ? 1 : 0, -slot.tokens.length];
    const best = this.all.reduce((a, b) => (compare(rank(b), rank(a)) > 0 ? b : a));
    const reused = reusedOf(best);
    if (reused === 0) return { slot: free.find(({ tokens }) => tokens.length === 0) ?? oldest, reused };
    if (best.isFree && (best.tokens.length <= reused + 1 || best === oldest)) return { slot: best, reused };
    return { slot: oldest, reused, copyFrom: best };
  }

  /** Gives the place to a sequence; its slot then holds what it reuses. */
  take({ slot, reused, copyFrom = slot }: Place): void {
    const kept = copyFrom.tokens.slice(0, reused);
    slot.tokens.splice(0, slot.tokens.length, ...kept);
    slot.isFree = false;
    slot.lastUsed = ++this.#clock;
  }

  /** Takes a slot back; what it holds may serve another. */
  free(slot: Slot): void {
    slot.isFree = true;
    slot.lastUsed = ++this.#clock;
  }
}

/** How many tokens two sequences have in common at their beginnings. */
export function commonLength(a: readonly number[], b: readonly number[]): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a[length] === b[length]) length++;
  return length;
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i]);
  return at < 0 ? 0 : (a[at] as number) - (b[at] as number);
}
