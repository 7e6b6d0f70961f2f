/**
 * A chat as the text that the model was trained on, by the template that lies beside its weights.
 *
 *     [{"role": "user", "content": "Hi"}]   →   <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n
 *
 * Templates are programs in Jinja, which @huggingface/jinja runs as transformers' apply_chat_template does. The
 * generation prompt at the end ("assistant\n") is what makes the model answer rather than go on asking.
 * https://huggingface.co/docs/transformers/chat_templating
 */
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { Template } from '@huggingface/jinja';

/** One message of a chat. */
export interface Message {
  /** Who says it: 'system', 'user' or 'assistant'. */
  readonly role: string;
  /** What is said. */
  readonly content: string;
}

/** How a model expects chats to be written. */
export interface ChatTemplate {
  /**
   * The text of a chat, up to where the answer begins.
   *
   * @throws UserError where the template refuses the messages, as Mistral's does two questions in a row
   */
  render(messages: readonly Message[]): string;
}

/** What begins and ends a text, in words: a template may write them. */
export interface Names {
  /** The token that begins one, such as '<s>'. */
  readonly begin: string;
  /** The token that ends one, such as '</s>'. */
  readonly end: string;
}

/**
 * The template that a model's files hold: a text, or several with names, of which "default" is the one for chats.
 *
 * @throws UserError where it isn't sound
 */
export function chatTemplateFrom(model: string, source: unknown, names: Names): ChatTemplate | undefined {
  const text = defaultOf(source);
  if (text === undefined) return undefined;
  const template = parse(model, text);
  return {
    render(messages) {
      try {
        return template.render({
          messages: messages.map((message) => ({ ...message })),
          ...{ bos_token: names.begin, eos_token: names.end, add_generation_prompt: true },
        });
      } catch (error) {
        throw new UserError(`The chat template of ${model} refuses these messages: ${messageOf(error)}`);
      }
    },
  };
}

function defaultOf(source: unknown): string | undefined {
  if (typeof source === 'string') return source;
  if (!Array.isArray(source)) return undefined;
  const named = source.find((each) => each?.name === 'default') ?? source[0];
  return typeof named?.template === 'string' ? named.template : undefined;
}

function parse(model: string, text: string): Template {
  try {
    return new Template(text);
  } catch (error) {
    throw new UserError(`The chat template of ${model} can't be read (${messageOf(error)}): give another one`);
  }
}

/** The template, where the model has one. Throws UserError where not. */
export function wantTemplate(model: string, template: ChatTemplate | undefined): ChatTemplate {
  if (template) return template;
  throw new UserError(
    `model=${model} has no chat template: let it go on from a text with generate or /v1/completions, ` +
      'or put a chat_template.jinja beside its weights',
  );
}
