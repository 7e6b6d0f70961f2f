/**
 * Text to numbers and back: bytes, GPT-2's vocabulary, or any tokenizer.json.
 *
 *     'bytes'  "Ahab" -> 65 104 97 98       256 symbols, the bytes of UTF-8; nothing to learn, nothing to load
 *     'gpt2'   "Ahab" -> 10910 397          50257 symbols, byte pair encoding (Sennrich et al. 2016; GPT-2 2019)
 *     a path   whatever the file says       as Hugging Face publishes it beside a model's weights
 *
 * A larger vocabulary makes a text shorter (about 4.4 bytes a GPT-2 token in English prose) and the model's first and
 * last matrices larger. Losses per token can't be compared between tokenizers; bits per byte can.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { bytes, INVALID, type Tokenizer } from './byte-tokenizer.ts';

export type { Tokenizer };

/**
 * The tokenizer called 'bytes' or 'gpt2', or the one in a tokenizer.json (or in a folder that holds one).
 *
 * @throws UserError where the file is missing, isn't JSON, or describes no tokenizer
 */
export async function openTokenizer(spec: string): Promise<Tokenizer> {
  if (spec === 'bytes') return bytes;
  if (spec === 'gpt2') return openGpt2();
  return openTokenizerFile(spec);
}

// A GPT-2 token is a run of bytes that may end amid a character, so decoding joins the bytes of all tokens first and
// reads them as UTF-8 last. (gpt-tokenizer's own `decode` holds such an end back and lets it out in a later call.)
// "<|endoftext|>" in a text becomes the one token that it names, which is how TinyStories and its like part their
// documents; the library throws there, or, told to allow it, sees it at the text's beginning only.
const END_OF_TEXT = '<|endoftext|>';

/** GPT-2's vocabulary. Its 0.6 MB of merges are only loaded when asked for. */
async function openGpt2(): Promise<Tokenizer> {
  const { encode, vocabularySize } = await import('gpt-tokenizer/encoding/r50k_base');
  const { default: ranks } = await import('gpt-tokenizer/bpeRanks/r50k_base');
  const endOfText = vocabularySize - 1;
  const bytesOf = (id: number) => {
    const token = id === endOfText ? END_OF_TEXT : (ranks[id] ?? [INVALID]);
    return typeof token === 'string' ? Buffer.from(token, 'utf8') : Buffer.from(token);
  };
  return {
    name: 'gpt2',
    vocabularySize,
    special: new Set([endOfText]),
    encode: (text) => text.split(END_OF_TEXT).flatMap((part, i) => (i > 0 ? [endOfText] : []).concat(encode(part))),
    decode: (ids) => Buffer.concat(Array.from(ids, bytesOf)).toString('utf8'),
  };
}

/** Any tokenizer that Hugging Face's file format describes. */
async function openTokenizerFile(spec: string): Promise<Tokenizer> {
  const { path, contents } = readTokenizerFile(spec);
  return tokenizerFrom(path, contents, spec);
}

/**
 * The tokenizer that a tokenizer.json describes.
 *
 * @param path where the text is from; its last part is in the tokenizer's name
 * @param spec what the user calls it, for messages
 * @throws UserError where it describes none that can be used
 */
export async function tokenizerFrom(path: string, contents: string, spec = path): Promise<Tokenizer> {
  const tokenizer = await parseTokenizer(path, contents);
  const ids = sound(spec, () => [...tokenizer.get_vocab().values()]);
  if (ids.length === 0) throw new UserError(`tokenizer=${spec} has no token: give another tokenizer.json`);
  const vocabularySize = 1 + ids.reduce((a, b) => Math.max(a, b), 0);
  const special = [...tokenizer.get_added_tokens_decoder()].filter(([, token]) => token.special);
  return {
    name: `${basename(path)} ${createHash('sha256').update(contents).digest('hex').slice(0, 16)}`,
    vocabularySize,
    begin: sound(spec, () => beginOf(JSON.parse(contents))),
    special: new Set(special.map(([id]) => id)),
    // A text is the middle of a document: no beginning-of-sequence token, which the file may ask for, is put before it.
    encode: (text) => {
      const { ids, tokens } = sound(spec, () => tokenizer.encode(text, { add_special_tokens: false }));
      const unknown = ids.indexOf(undefined as unknown as number); // the library's answer where no token fits
      if (unknown < 0) return ids;
      throw new UserError(
        `tokenizer=${spec} has no token for ${JSON.stringify(tokens[unknown])}: ` +
          'take one that knows every byte or has an unknown token, or other data',
      );
    },
    // The library refuses an empty list, and writes "undefined" for ids that it doesn't know.
    decode: (ids) =>
      runsOf(ids, (id) => tokenizer.id_to_token(id) !== undefined)
        .map((run) => (run ? sound(spec, () => tokenizer.decode(run, { clean_up_tokenization_spaces: false })) : NONE))
        .join(''),
  };
}

/** The part of a tokenizer.json that says what stands before and after a text. */
interface Template {
  readonly type?: string;
  readonly processors?: readonly Template[];
  readonly single?: readonly { readonly SpecialToken?: { readonly id: string }; readonly Sequence?: object }[];
  readonly special_tokens?: Readonly<Record<string, { readonly ids: readonly number[] }>>;
}

/** The ids that the file's template puts before a text: {"single": [{"SpecialToken": {"id": "<s>"}}, ...]}. */
function beginOf({ post_processor }: { post_processor?: Template | null }): number[] {
  const all = post_processor?.type === 'Sequence' ? (post_processor.processors ?? []) : [post_processor];
  const template = all.find((one) => one?.type === 'TemplateProcessing');
  const single = template?.single ?? [];
  const text = single.findIndex(({ Sequence }) => Sequence);
  const before = single.slice(0, Math.max(0, text));
  const ids = before.flatMap(({ SpecialToken }) => template?.special_tokens?.[SpecialToken?.id ?? '']?.ids ?? []);
  if (ids.every((id) => Number.isInteger(id) && id >= 0 && id < MOST_TOKENS)) return ids;
  throw new Error('what it puts before a text are no ids');
}

/** Far more than any vocabulary has. */
const MOST_TOKENS = 2 ** 24;
const NONE = '\ufffd';

/** The library sees some of what is wrong with a file only when it meets a text, and stumbles. */
function sound<T>(spec: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UserError(`tokenizer=${spec} is no sound tokenizer (${messageOf(error)}): give another tokenizer.json`);
  }
}

/** Cuts ids into runs of known ones, with `undefined` for each unknown one. */
function runsOf(ids: Iterable<number>, known: (id: number) => boolean): (number[] | undefined)[] {
  const runs: (number[] | undefined)[] = [];
  for (const id of ids) {
    const last = runs.at(-1);
    if (!known(id)) runs.push(undefined);
    else if (last) last.push(id);
    else runs.push([id]);
  }
  return runs;
}

/** The file of `spec` and what is in it. Throws UserError where there is none to read. */
export function readTokenizerFile(spec: string): { path: string; contents: string } {
  const stats = statSync(spec, { throwIfNoEntry: false });
  if (!stats) throw new UserError(`tokenizer=${spec} is no file: give bytes, gpt2 or the path of a tokenizer.json`);
  const path = stats.isDirectory() ? join(spec, 'tokenizer.json') : spec;
  try {
    return { path, contents: readFileSync(path, 'utf8') };
  } catch (error) {
    throw new UserError(`tokenizer=${spec} can't be read (${messageOf(error)}): give the path of a tokenizer.json`);
  }
}

/** The library makes lists as long as the largest id, and looks for empty tokens without end: neither may be. */
function checkIds(json: unknown): void {
  const { model, added_tokens: added = [] } = (json ?? {}) as { model?: { vocab?: object }; added_tokens?: unknown };
  if (!Array.isArray(added)) throw new Error('its added_tokens are no list');
  const vocabulary = Array.isArray(model?.vocab) ? [] : Object.entries(model?.vocab ?? {});
  for (const [token, id] of [...vocabulary, ...added.map((one) => [one?.content, one?.id])]) {
    const isId = Number.isInteger(id) && id >= 0 && id < MOST_TOKENS;
    if (typeof token !== 'string' || token === '' || !isId)
      throw new Error('it has an empty token, or one whose id is no whole number from 0 to 16777215');
  }
}

/** Builds the tokenizer that a tokenizer.json describes. */
async function parseTokenizer(path: string, contents: string) {
  const { Tokenizer } = await import('@huggingface/tokenizers');
  try {
    const json: unknown = JSON.parse(contents);
    checkIds(json);
    return new Tokenizer(json as object, {});
  } catch (error) {
    throw new UserError(`tokenizer=${path} doesn't describe a tokenizer (${messageOf(error)}): give a tokenizer.json`);
  }
}
