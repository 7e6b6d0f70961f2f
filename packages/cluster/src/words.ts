/**
 * The command lines of this package: first words that stand for themselves, then settings as everywhere.
 *
 *     fourfold slurm submit configs/a.json configs/b.json --time 30 --hold
 *                    └───────── words ───────────┘ └──── settings ────┘
 */
import { type ConfigSchema, readConfig } from '@fourfold/cli';
import { UserError } from '@fourfold/runtime/errors';
import type { z } from 'zod';

export interface WordsCommand<S extends ConfigSchema> {
  /** What the user types, up to the words: 'npx fourfold metrics'. */
  readonly name: string;
  /** What the words are: 'DIR', 'PATH...'. */
  readonly words: string;
  readonly usage: string;
  readonly schema: S;
  readonly argv: readonly string[];
}

/** The words before the first setting, of which there must be one, and the settings. */
export function readWords<S extends ConfigSchema>(
  command: WordsCommand<S>,
): { readonly words: readonly string[]; readonly settings: z.output<S> } {
  const { name, words: wanted, argv, ...rest } = command;
  const end = argv.findIndex((word) => word.startsWith('-'));
  const words = argv.slice(0, end < 0 ? argv.length : end);
  const settings = readConfig({ ...rest, name: `${name} ${wanted}`, argv: argv.slice(words.length) });
  if (words.length === 0) throw new UserError(`${name} says no ${wanted}: use ${name} ${wanted}`);
  return { words, settings };
}
