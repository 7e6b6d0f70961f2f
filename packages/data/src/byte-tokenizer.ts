/**
 * What a tokenizer is, and the simplest: the bytes of UTF-8, each its own token.
 *
 *     'bytes'  "Ahab" -> 65 104 97 98       256 symbols; nothing to learn, nothing to load
 */

/** A vocabulary with the way into it and out of it. */
export interface Tokenizer {
  /** Says which vocabulary this is: two tokenizers of the same name encode alike. */
  readonly name: string;
  /** One more than the largest id that `encode` can give. */
  readonly vocabularySize: number;
  /** Ids that stand before a document's first token, such as that of <s>; absent where none do. */
  readonly begin?: readonly number[];
  /** Ids of tokens that steer and are no text, such as <|im_end|>; absent where there are none. */
  readonly special?: ReadonlySet<number>;
  /**
   * Ids of a text's tokens, without those that stand before a document.
   *
   * @throws UserError where a tokenizer.json has no token for something in the text
   */
  encode(text: string): Uint8Array | number[];
  /** The text of some ids. What isn't valid UTF-8, or no id of this vocabulary, shows as U+FFFD. */
  decode(ids: Iterable<number>): string;
}

/** A byte that is no UTF-8 wherever it stands, for ids outside a vocabulary. */
export const INVALID = 0xff;

/** The bytes of UTF-8. */
export const bytes: Tokenizer = {
  name: 'bytes',
  vocabularySize: 256,
  encode: (text) => new TextEncoder().encode(text),
  decode: (ids) =>
    new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(ids, (id) => (id < 256 ? id : INVALID))),
};
