/** A text in memory as the training loop reads it: bytes for tokens, the last tenth to validate on. */
import { byteTokenizer, type TokenizedText, type Tokens } from '@fourfold/data';

export function tokensOf(text: string, validationFraction = 0.1): TokenizedText {
  const ids = Int32Array.from(byteTokenizer.encode(text));
  const cut = Math.round(ids.length * (1 - validationFraction));
  return {
    train: partOf('train', ids.subarray(0, cut)),
    validation: partOf('validation', ids.subarray(cut)),
    largestId: ids.reduce((a, b) => Math.max(a, b), 0),
    close: () => {},
  };
}

/** `read` gives copies: who has one may change it. */
const partOf = (part: Tokens['part'], ids: Int32Array): Tokens => ({
  part,
  count: ids.length,
  bytes: ids.length,
  read(start, count) {
    if (start < 0 || start + count > ids.length)
      throw new RangeError(`${part} has ${ids.length} tokens, not ${start} to ${start + count}`);
    return ids.slice(start, start + count);
  },
});
