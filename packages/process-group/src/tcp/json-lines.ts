/**
 * What the store and its ranks say to each other: one JSON object a line.
 *
 *     {"id":1,"key":"x","value":"1"}    sets x                 {"id":1}                 done
 *     {"id":2,"key":"y","owner":3}      asks for rank 3's y    {"id":2,"value":"7"}     here it is
 *                                                              {"id":2,"error":"..."}   it won't come
 *
 * Lines end with a newline, which JSON never has within a text. Both ends know the secret by now, and yet neither
 * believes a length: a line of more than 64 Ki characters is an error before it has been read.
 */
import type { Socket } from 'node:net';

/** A request or its answer. */
export interface Message {
  /** The sender's number for its request; the answer has the same. */
  readonly id: number;
  readonly key?: string;
  readonly value?: string;
  readonly owner?: number;
  readonly error?: string;
}

/** The longest line that either end reads. */
export const MAX_LINE = 65536; // characters

/**
 * The line for a message.
 *
 * @throws Error where it is too long
 */
export function lineOf(message: Message): string {
  const line = JSON.stringify(message);
  if (line.length <= MAX_LINE) return `${line}\n`;
  throw new Error(`a message of ${line.length} characters does not fit into a line of ${MAX_LINE}`);
}

/** The messages that arrive, until the other end closes; throws where a line is too long or makes no sense. */
export async function* messages(socket: Socket): AsyncGenerator<Message> {
  let rest = '';
  for await (const chunk of socket.setEncoding('utf8') as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield parse(line);
    if (rest.length > MAX_LINE) throw new Error(`a line of more than ${MAX_LINE} characters`);
  }
}

/** A line's message; throws where it is none. */
function parse(line: string): Message {
  if (line.length > MAX_LINE) throw new Error(`a line of ${line.length} characters`);
  const value: unknown = JSON.parse(line);
  if (!isMessage(value)) throw new Error('a line that is no message');
  return value;
}

/** Whether every field that is there is of its kind. */
function isMessage(value: unknown): value is Message {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  const isTextOrAbsent = (name: string) => fields[name] === undefined || typeof fields[name] === 'string';
  const isOwner = fields['owner'] === undefined || Number.isInteger(fields['owner']);
  return Number.isInteger(fields['id']) && isOwner && ['key', 'value', 'error'].every(isTextOrAbsent);
}
