/**
 * A command line from one zod schema: flags, a JSON file, help, and errors of one sentence.
 *
 *     const config = readConfig({ name: 'npm start --', usage: 'Trains a Llama.', schema, argv });
 *
 * A setting's value is its flag's, else the file's, else the schema's default. Flags are `--key value`, `--key=value`,
 * and for what is on or off `--key` and `--no-key`; `--some-key` is another spelling of `--someKey`. A list is written
 * with commas, `--key a,b`, or as words, `--key a b`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { exitWith, messageOf, UserError } from '@fourfold/runtime/errors';
import type { z } from 'zod';
import { type Command, helpOf } from './help.ts';
import {
  type ConfigSchema,
  jsonSchemaOf,
  nearest,
  parseValue,
  type Shape,
  settingsOf,
  takes,
  wanted,
} from './settings.ts';

export { type Command, helpOf } from './help.ts';
export { type ConfigSchema, jsonSchemaOf } from './settings.ts';

/** Thrown where the user asked for help or for the schema's file; the message is what to print. */
export class HelpWanted extends Error {
  /** 'HelpWanted'. */
  override readonly name = 'HelpWanted';
}

/** A value, and the words for where it came from: '--steps 0', '"steps": 0 in run.json'. */
interface Given {
  readonly value: unknown;
  readonly where: string;
}

/**
 * The configuration that a command line asks for, checked against the schema.
 * Throws UserError with one sentence where something is wrong, and HelpWanted for --help, -h and --schema FILE.
 */
export function readConfig<S extends ConfigSchema>(
  command: Command & { readonly schema: S; readonly argv: readonly string[] },
): z.output<S> {
  if (command.argv.includes('--help') || command.argv.includes('-h')) throw new HelpWanted(helpOf(command));
  const settings = settingsOf(command.schema);
  if (command.argv[0] === '--schema') throw new HelpWanted(writeSchema(command.schema, command.argv[1]));
  const flags = readFlags(command.argv, settings);
  const file = flags.get('config');
  flags.delete('config');
  const given = new Map([...(file ? readFile(String(file.value), settings) : []), ...flags]);
  const input = Object.fromEntries([...given].map(([key, { value }]) => [key, value]));
  const result = command.schema.safeParse(input);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (!issue) throw result.error;
  throw new UserError(explain(issue, given, settings));
}

/** Writes the settings as a JSON schema, with which editors complete and check configuration files. */
function writeSchema(schema: ConfigSchema, path: string | undefined): string {
  if (!path) throw new UserError('--schema needs the name of the file to write');
  try {
    writeFileSync(path, `${JSON.stringify(jsonSchemaOf(schema), null, 2)}\n`);
  } catch (error) {
    throw new UserError(`--schema ${path} can't be written: ${messageOf(error)}`);
  }
  return `Wrote ${path}`;
}

/** A sentence about the first thing that the schema found wrong. Checks across settings bring their own sentence. */
function explain(
  issue: z.core.$ZodIssue,
  given: ReadonlyMap<string, Given>,
  settings: ReadonlyMap<string, Shape>,
): string {
  const key = String(issue.path[0] ?? '');
  const shape = settings.get(key);
  const where = given.get(key)?.where;
  if (issue.code === 'custom' || !shape) return issue.message;
  if (!where) return `--${key} is needed: ${shape.description ?? wanted(shape)}`;
  return `${where}: ${shape.const === undefined ? `use ${wanted(shape)}` : `only ${shape.const} works here`}`;
}

/** The settings of a command line, and 'config', by key. */
function readFlags(argv: readonly string[], settings: ReadonlyMap<string, Shape>): Map<string, Given> {
  const known = new Map<string, Shape>([['config', { type: 'string' }], ...settings]);
  const flags = new Map<string, Given>();
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i] ?? '';
    if (!word.startsWith('--')) throw new UserError(`${word} is not a setting: write --key value`);
    const { key, shape, text, isNegated } = splitFlag(word, known);
    const next = argv[i + 1];
    let value = text;
    if (value === undefined && takes(shape, 'boolean') && next !== 'true' && next !== 'false') value = `${!isNegated}`;
    else if (value === undefined && next !== undefined && !next.startsWith('--')) value = argv[++i];
    if (text === undefined && takes(shape, 'array'))
      while (argv[i + 1] !== undefined && !argv[i + 1]?.startsWith('--')) value += `,${argv[++i]}`;
    if (value === undefined)
      throw new UserError(`--${key} has no value: use ${key === 'config' ? 'a JSON file' : wanted(shape)}`);
    const before = flags.get(key);
    if (before) throw new UserError(`--${key} is given twice, ${before.value} and ${value}: give it once`);
    const where = text === undefined && isNegated ? word : `--${key} ${value === '' ? "''" : value}`;
    flags.set(key, { value: parseValue(value, shape), where });
  }
  return flags;
}

/** A flag's key and its text after '='. `--no-key` is the key where the key is one of on and off. */
function splitFlag(word: string, known: ReadonlyMap<string, Shape>) {
  const [, spelling = '', text] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
  const camel = (name: string): string => name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const key = camel(spelling);
  const shape = known.get(key);
  if (shape) return { key, shape, text, isNegated: false };
  const positive = camel(spelling.replace(/^no-/, ''));
  const negated = known.get(positive);
  if (spelling.startsWith('no-') && negated && takes(negated, 'boolean') && text === undefined) {
    return { key: positive, shape: negated, text, isNegated: true };
  }
  throw new UserError(unknown(`--${spelling}`, key, known, '--'));
}

/** '--seqLenght is not a setting: did you mean --seqLength?' */
function unknown(said: string, key: string, known: ReadonlyMap<string, Shape>, dashes: string): string {
  const close = nearest(key, known.keys());
  return `${said} is not a setting: ${close ? `did you mean ${dashes}${close}?` : '--help lists those there are'}`;
}

/** The settings of a JSON file, by key. "$schema" is for editors and says nothing to us. */
function readFile(path: string, settings: ReadonlyMap<string, Shape>): Map<string, Given> {
  const values = parseObject(path, readText(path));
  const given = new Map<string, Given>();
  for (const [key, value] of Object.entries(values)) {
    if (key === '$schema') continue;
    if (!settings.has(key)) throw new UserError(unknown(`"${key}" in ${path}`, key, settings, ''));
    given.set(key, { value, where: `"${key}": ${JSON.stringify(value)} in ${path}` });
  }
  return given;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const cause = isMissing ? 'there is no such file' : messageOf(error);
    throw new UserError(`--config ${path}: ${cause}; name a JSON file of settings`);
  }
}

function parseObject(path: string, text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`--config ${path} is not valid JSON: ${messageOf(error)}`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new UserError(`--config ${path} holds no settings: write them as {"key": value, ...}`);
}

/**
 * Runs a command. Help goes to stdout; a UserError is one line on stderr and exit code 2; anything else that is thrown
 * is a defect, shown with its stack, and exit code 1.
 */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    if (error instanceof HelpWanted) return console.log(error.message);
    exitWith(error);
  }
}
