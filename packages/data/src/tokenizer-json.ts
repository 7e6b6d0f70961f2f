/**
 * The tokenizer.json of a tokenizer: what lies beside a model's weights, so that others give its texts the same ids.
 *
 * Bytes and GPT-2's vocabulary are both byte pair encodings, one of them without a merge. In a tokenizer.json a byte is
 * written as a visible character, by GPT-2's table: "!" to "~" and most of Latin-1 as they are, the others from U+0100
 * on in their order, so that a space is "Ġ".
 */
import { readTokenizerFile } from './tokenizers.ts';

/** The character that stands for each byte. */
export function byteCharacters(): string[] {
  const isVisible = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isVisible(byte) ? byte : next++));
}

/**
 * The text of a tokenizer.json with the same ids as the tokenizer `spec`: 'bytes', 'gpt2' or a path.
 *
 * @throws UserError where the path's file can't be read
 */
export async function tokenizerJson(spec: string): Promise<string> {
  if (spec === 'bytes') return byteLevelJson({ tokens: byteCharacters(), merges: [], splits: false });
  if (spec !== 'gpt2') return readTokenizerFile(spec).contents;
  const { default: ranks } = await import('gpt-tokenizer/bpeRanks/r50k_base');
  const characters = byteCharacters();
  const written = (token: string | readonly number[]) =>
    Array.from(typeof token === 'string' ? Buffer.from(token, 'utf8') : token, (byte) => characters[byte]).join('');
  const tokens = ranks.map(written);
  return byteLevelJson({ tokens, merges: mergesOf(tokens), splits: true, end: '<|endoftext|>' });
}

/** A byte pair encoding's merges, which its tokens imply: each token is the last of the merges that make it. */
function mergesOf(tokens: readonly string[]): string[] {
  const ranks = new Map(tokens.map((token, rank) => [token, rank]));
  const merges: string[] = [];
  for (const token of tokens.slice(256)) {
    const parts = [...token];
    const rank = (i: number) => ranks.get(`${parts[i]}${parts[i + 1]}`) ?? Number.POSITIVE_INFINITY;
    while (parts.length > 2) {
      let best = 0;
      for (let i = 1; i < parts.length - 1; i++) if (rank(i) < rank(best)) best = i;
      parts.splice(best, 2, `${parts[best]}${parts[best + 1]}`);
    }
    merges.push(parts.join(' '));
  }
  return merges;
}

interface ByteLevel {
  readonly tokens: readonly string[];
  readonly merges: readonly string[];
  /** Whether a text is cut into words first. */
  readonly splits: boolean;
  /** The token that ends a text. */
  readonly end?: string;
}

function byteLevelJson({ tokens, merges, splits, end }: ByteLevel): string {
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: splits };
  const all = end ? [...tokens, end] : tokens;
  const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false };
  const added = end ? [{ id: tokens.length, content: end, special: true, ...plain }] : [];
  const model = {
    ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
    ...{ fuse_unk: false, byte_fallback: false },
    vocab: Object.fromEntries(all.map((token, id) => [token, id])),
    merges,
  };
  const whole = { version: '1.0', truncation: null, padding: null, added_tokens: added, normalizer: null };
  return JSON.stringify({ ...whole, pre_tokenizer: byteLevel, post_processor: null, decoder: byteLevel, model });
}
