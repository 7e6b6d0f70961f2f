/**
 * Vocabularies of tests: bytes with the tokens of a chat, and a small one in SentencePiece's manner.
 */
import { type Tokenizer, tokenizerFrom, tokenizerJson } from '@fourfold/data';
import { openVocabulary, type Vocabulary } from '../../src/text/vocabulary.ts';

/** Ids after the 256 bytes. */
export const [BEGIN, TURN, END] = [256, 257, 258] as const;
const SPECIAL = ['<s>', '<|turn|>', '<|end|>'];
const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

export const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|end|>' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\n' }}{% endif %}";

/** The files of a vocabulary of 259: the bytes, what begins a text, a turn, and what ends it. */
export async function tinyFiles(template: string | null = CHAT_TEMPLATE): Promise<Map<string, string>> {
  const json = JSON.parse(await tokenizerJson('bytes'));
  json.added_tokens = SPECIAL.map((content, i) => ({ id: 256 + i, content, ...plain }));
  json.post_processor = {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [],
    special_tokens: { '<s>': { id: '<s>', ids: [BEGIN], tokens: ['<s>'] } },
  };
  const config = { bos_token: '<s>', eos_token: { content: '<|end|>' }, chat_template: template };
  return new Map([
    ['tokenizer.json', JSON.stringify(json)],
    ['tokenizer_config.json', JSON.stringify(config)],
  ]);
}

export const tinyVocabulary = async (template?: string | null): Promise<Vocabulary> =>
  openVocabulary({ model: 'tiny', tokenizerFiles: await tinyFiles(template), ends: { begin: BEGIN, end: END } });

/** "▁" for a space, a byte each for what has no token: ids 0 to 255 are bytes, then come the pieces. */
export const PIECES = ['▁', 'a', 'b', '▁a', 'ab', '▁ab', 'é', '▁é', '.', '\n'];
export const sentencePieces = (): Promise<Tokenizer> => {
  const hex = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  const tokens = [...Array.from({ length: 256 }, (_, byte) => hex(byte)), ...PIECES, '</s>'];
  const json = {
    version: '1.0',
    added_tokens: [{ id: tokens.length - 1, content: '</s>', ...plain }],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      byte_fallback: true,
      unk_token: null,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ['▁ a', 'a b', '▁a b', '▁ é'],
    },
  };
  return tokenizerFrom('pieces', JSON.stringify(json));
};
