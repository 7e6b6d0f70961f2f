/**
 * The vocabulary in a GGUF file as the tokenizer.json that Hugging Face publishes beside a model.
 *
 * A file has the tokens, their kinds and, for byte pair encoding, the merges; how a text is cut into words before that
 * it has by name only ("smollm", "gpt-2"). The names that are known here are those whose cuts are.
 *
 * Whether a text begins with a token of its own, "add_bos_token" says; where it says nothing, Llama 3's do
 * ("llama-bpe"), as in llama.cpp.
 */
import type { GgufFile } from './file.ts';

/** Kinds of token: 1 is an ordinary one. */
const CONTROL = 3;
const USER_DEFINED = 4;

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
/** Llama 3's words: contractions, letters, up to three digits, punctuation, white space. */
const LLAMA_3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" +
  '|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

/** How a text is cut into words, by llama.cpp's name for it. */
const CUTS: Readonly<Record<string, object>> = {
  'gpt-2': byteLevel,
  smollm: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel] },
  'llama-bpe': {
    type: 'Sequence',
    pretokenizers: [
      { type: 'Split', pattern: { Regex: LLAMA_3 }, behavior: 'Isolated', invert: false },
      { ...byteLevel, use_regex: false },
    ],
  },
};

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((text) => typeof text === 'string');

/**
 * tokenizer.json and tokenizer_config.json by name; none where the file has no vocabulary, or one that this can't
 * describe. Training then asks for a tokenizer by name.
 */
export function tokenizerFilesFrom({ settings }: GgufFile): Map<string, string> {
  const of = (key: string) => settings.get(`tokenizer.ggml.${key}`);
  const [tokens, kinds, merges, cut] = [of('tokens'), of('token_type'), of('merges'), CUTS[String(of('pre'))]];
  const files = new Map<string, string>();
  if (of('model') !== 'gpt2' || !isTexts(tokens) || !isTexts(merges) || !cut) return files;
  const isAdded = (id: number) => Array.isArray(kinds) && [CONTROL, USER_DEFINED].includes(kinds[id]);
  const added = tokens.flatMap((content, id) =>
    isAdded(id)
      ? [{ id, content, special: (kinds as number[])[id] === CONTROL, normalized: false, ...AS_IT_STANDS }]
      : [],
  );
  const model = {
    ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
    ...{ fuse_unk: false, byte_fallback: false, ignore_merges: of('pre') === 'llama-bpe' },
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  };
  const whole = { version: '1.0', truncation: null, padding: null, added_tokens: added, normalizer: null };
  files.set(
    'tokenizer.json',
    JSON.stringify({ ...whole, pre_tokenizer: cut, post_processor: beginOf(of, tokens), decoder: byteLevel, model }),
  );
  const token = (key: string) => tokens[Number(of(key))] ?? null;
  const config = {
    ...{ tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false },
    ...{ bos_token: token('bos_token_id'), eos_token: token('eos_token_id'), pad_token: token('padding_token_id') },
    ...{ chat_template: settings.get('tokenizer.chat_template') ?? undefined },
  };
  return files.set('tokenizer_config.json', JSON.stringify(config, null, 2));
}

/** What puts the token that begins a text before it; null where nothing is to. */
function beginOf(of: (key: string) => unknown, tokens: readonly string[]): object | null {
  const id = Number(of('bos_token_id') ?? -1);
  const bos = tokens[id];
  if (bos === undefined || !(of('add_bos_token') ?? of('pre') === 'llama-bpe')) return null;
  const single = [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  const pair = [...single, { Sequence: { id: 'B', type_id: 0 } }];
  return { type: 'TemplateProcessing', single, pair, special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } } };
}

const AS_IT_STANDS = { single_word: false, lstrip: false, rstrip: false };
