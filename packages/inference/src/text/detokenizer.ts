/**
 * Tokens to text while they come, never half a character and never a word that changes later.
 *
 *     token        bytes          certain after it
 *     " caf"       20 63 61 66    " caf"
 *     "\xc3"       c3             ""            the first byte of é: held back
 *     "\xa9"       a9             "é"
 *
 * A token is a run of bytes, and a character may need several tokens: an emoji is up to four. Others depend on what
 * stands before them: in SentencePiece's vocabularies "▁Hello" is "Hello" at a text's beginning and " Hello" after it.
 * So the text of a few tokens is decoded together again and again, and what is new at its end is what the last one
 * added. U+FFFD at the end stands for a character that isn't whole yet.
 */
import type { Tokenizer } from '@fourfold/data';

const NOT_YET_WHOLE = '\ufffd';
/** Tokens that are decoded together, at most: only text that isn't UTF-8 ever has so many without a whole character. */
const LONGEST_WINDOW = 64;
/** As many of the tokens before a text as may matter for its beginning. */
const CONTEXT = 8;

/** The state of one text on its way from tokens. */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  /** Tokens that are decoded together: some that have been said already, and those after them. */
  #window: number[];
  /** How many of the window's characters have been said. */
  #said: number;
  /** Where those tokens begin that came since the window was moved last. */
  #fresh: number;

  /** @param before what the text goes on from; empty where it's a text of its own, as a chat's answer is */
  constructor(tokenizer: Tokenizer, before: readonly number[] = []) {
    this.#tokenizer = tokenizer;
    this.#window = before.slice(-CONTEXT).filter((id) => !this.#isSilent(id));
    this.#said = wholePart(tokenizer.decode(this.#window)).length;
    this.#fresh = 0;
  }

  #isSilent(id: number): boolean {
    return this.#tokenizer.special?.has(id) ?? false;
  }

  /** The text that is certain now that this token has come. Special tokens have none. */
  push(id: number): string {
    if (this.#isSilent(id)) return '';
    this.#window.push(id);
    const text = this.#tokenizer.decode(this.#window);
    const whole = wholePart(text);
    const added = whole.slice(this.#said);
    this.#said = Math.max(this.#said, whole.length);
    if (whole === text || this.#window.length >= LONGEST_WINDOW) this.#move();
    return added;
  }

  /** What was held back, when no token comes any more: U+FFFD for a character that was never finished. */
  end(): string {
    const text = this.#tokenizer.decode(this.#window);
    return text.slice(this.#said);
  }

  /** Leaves in the window what came last, as what the next tokens stand after. */
  #move(): void {
    this.#window = this.#window.slice(this.#fresh);
    this.#fresh = this.#window.length;
    this.#said = wholePart(this.#tokenizer.decode(this.#window)).length;
  }
}

/** A text without a last character that isn't whole. */
const wholePart = (text: string): string => (text.endsWith(NOT_YET_WHOLE) ? text.slice(0, -1) : text);
