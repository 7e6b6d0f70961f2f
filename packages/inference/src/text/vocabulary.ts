/**
 * A model's vocabulary and what a writer has to know of it: what begins a text, what ends it, how a chat is written.
 *
 *     tokenizer.json            tokens and their ids; which of them steer and are no text; what begins a document
 *     tokenizer_config.json     the names of the tokens that begin and end a text, and often the chat's template
 *     chat_template.jinja       the chat's template, where it has a file of its own
 *     config.json               the ids that end a text: a model may have several, <|eot_id|> beside <|end_of_text|>
 *
 * All of them may end an answer; none is shown.
 */
import { type Tokenizer, tokenizerFrom } from '@fourfold/data';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { type ChatTemplate, chatTemplateFrom } from './template.ts';

/** What goes between text and ids for one model. */
export interface Vocabulary {
  /** Text to ids and back. */
  readonly tokenizer: Tokenizer;
  /** Ids that stand before a text; a chat's template writes its own. */
  readonly begin: readonly number[];
  /** Ids that end a text. */
  readonly ends: ReadonlySet<number>;
  /** How a chat is written; undefined where the model has none. */
  readonly template?: ChatTemplate | undefined;
}

/** The files beside a model's weights, by name, and the ids that its config.json names. */
export interface VocabularyFiles {
  /** What the user calls the model, for messages. */
  readonly model: string;
  /** Texts of tokenizer.json and the like, by file name. */
  readonly tokenizerFiles: ReadonlyMap<string, string>;
  /** Ids that begin and end a text. */
  readonly ends?: { readonly begin?: number | undefined; readonly end?: number | readonly number[] | undefined };
}

/**
 * Reads a vocabulary.
 *
 * @throws UserError where there is no tokenizer.json, or one of the files isn't sound
 */
export async function openVocabulary({ model, tokenizerFiles, ends = {} }: VocabularyFiles): Promise<Vocabulary> {
  const contents = tokenizerFiles.get('tokenizer.json');
  if (contents === undefined)
    throw new UserError(`model=${model} has no tokenizer.json that can be read: put one beside its weights`);
  const tokenizer = await tokenizerFrom(`${model}/tokenizer.json`, contents);
  const config = parseObject(`${model}/tokenizer_config.json`, tokenizerFiles.get('tokenizer_config.json') ?? '{}');
  const [begin, end] = [nameOf(config['bos_token']), nameOf(config['eos_token'])];
  const endIds = [ends.end ?? [], end === undefined ? [] : idsOf(tokenizer, end)].flat();
  const source = tokenizerFiles.get('chat_template.jinja') ?? config['chat_template'];
  const template = chatTemplateFrom(model, source, { begin: begin ?? '', end: end ?? '' });
  return { tokenizer, begin: tokenizer.begin ?? [], ends: new Set(endIds), template };
}

/** A token's name is a string, or {"content": "</s>", ...} in older files. */
function nameOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token;
  const content = (token as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

/** The id of a token by its name, where it is one token. */
function idsOf(tokenizer: Tokenizer, name: string): number[] {
  const ids = [...tokenizer.encode(name)];
  return ids.length === 1 ? ids : [];
}

function parseObject(path: string, text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch (error) {
    throw new UserError(`${path} is not valid JSON: ${messageOf(error)}`);
  }
  throw new UserError(`${path} holds no settings: it is JSON of another kind`);
}
