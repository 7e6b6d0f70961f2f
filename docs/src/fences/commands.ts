/**
 * The commands that pages tell a reader to type, and whether they exist with these flags.
 *
 * What a command takes, its own --help says, or for training the schema of its settings. A flag may be spelled
 * `--seqLength`, `--seq-length` or, where it is on or off, `--no-zero`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from './pages.ts';
import { runFor } from './program.ts';

/** One command of a page. */
export interface Typed {
  /** 'docs/plan.md:12' */
  readonly where: string;
  /** 'npm start', 'npx fourfold slurm', 'npx nx run train:plan' */
  readonly name: string;
  readonly flags: readonly string[];
}

const COMMAND =
  /^(npm (?:start|test|run [\w:]+)|npx fourfold(?: slurm [\w-]+| [\w-]+)?|npx nx run [\w-]+:[\w-]+)(?= |$)(.*)$/;

/** The commands in a page's shell fences and indented blocks; what stands after two blanks or a # is a remark. */
export function commandsOf({ path, blocks }: Page): Typed[] {
  const shell = blocks.filter(({ kind }) => kind === 'sh' || kind === 'indented');
  return shell.flatMap(({ text, line }) =>
    shellLines(text).flatMap(({ typed, number }) =>
      typed.split(/ && | {2,}| # /).flatMap((part): Typed[] => {
        const [, name = '', rest = ''] = COMMAND.exec(part.trim()) ?? [];
        const flags = [...rest.matchAll(/(?<= )--([A-Za-z][\w-]*)/g)].map(([, flag]) => flag as string);
        return name ? [{ where: `${path}:${line + number}`, name, flags }] : [];
      }),
    ),
  );
}

/** Lines as a shell reads them, with the number of each: what ends in a backslash goes on in the next. */
function shellLines(text: string): { typed: string; number: number }[] {
  let next = 1;
  return text.split(/(?<!\\)\n/).map((typed) => {
    const number = next;
    next += typed.split('\n').length;
    return { typed: typed.replace(/ *\\\n */g, ' '), number };
  });
}

/** Each project's targets: what `nx run` calls, or true where it is a script of the package. */
export function targetsOf(root: string): Map<string, string | true> {
  const folders = [...readdirSync(join(root, 'packages')).map((name) => `packages/${name}`), 'bench', 'docs', 'tools'];
  const targets = new Map<string, string | true>();
  for (const folder of folders) {
    const { name, scripts = {}, nx = {} } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const project: string = nx.name ?? name;
    for (const script of Object.keys(scripts)) targets.set(`${project}:${script}`, true);
    for (const [target, { options }] of Object.entries<{ options?: { command?: string } }>(nx.targets ?? {}))
      targets.set(`${project}:${target}`, options?.command ?? true);
  }
  return targets;
}

/** The words that print a command's help; undefined where it has none (tests, builds). Throws for no such target. */
export function helpCommand(name: string, targets: ReadonlyMap<string, string | true>): string | undefined {
  const target = /^npx nx run (.*)$/.exec(name)?.[1] ?? (name === 'npm start' ? 'train:start' : undefined);
  if (name === 'npm run chat') return 'node packages/fourfold/bin/fourfold.mjs chat --help';
  if (name.startsWith('npx fourfold'))
    return `${name.replace('npx fourfold', 'node packages/fourfold/bin/fourfold.mjs')} --help`;
  if (!target) return undefined; // npm test, npm run ...: they take no flags of ours
  const command = targets.get(target);
  if (command === undefined) throw new Error(`there is no ${target}`);
  return command === true
    ? undefined
    : `${command.replace(/^npx fourfold/, 'node packages/fourfold/bin/fourfold.mjs')} --help`;
}

const plain = (flag: string): string => flag.replaceAll('-', '').toLowerCase();

/** Flags that a help text names, in one spelling. */
export const flagsIn = (help: string): Set<string> =>
  new Set([...help.matchAll(/--([A-Za-z][\w-]*)/g)].map(([, flag]) => plain(flag as string)));

/** Whether help knows the flag, or what it turns off. */
const knows = (known: ReadonlySet<string>, flag: string): boolean =>
  known.has(plain(flag)) || (flag.startsWith('no-') && known.has(plain(flag.slice(3))));

/** A complaint for each command that does not exist and each flag that it doesn't know. */
export async function checkCommands(pages: readonly Page[], root: string): Promise<string[]> {
  const [typed, targets, complaints] = [pages.flatMap(commandsOf), targetsOf(root), [] as string[]];
  const helps = new Map<string, Set<string>>();
  for (const { where, name, flags } of typed) {
    try {
      const command = helpCommand(name, targets);
      if (!command || flags.length === 0) continue;
      const known = helps.get(command) ?? flagsIn(await outputOf(command, root));
      helps.set(command, known);
      for (const flag of flags) if (!knows(known, flag)) complaints.push(`${where} ${name} has no --${flag}`);
    } catch (error) {
      complaints.push(`${where} ${name}: ${(error as Error).message}`);
    }
  }
  return complaints;
}

/** What a command prints of its flags, be it as help or as an error that lists them. */
async function outputOf(command: string, root: string): Promise<string> {
  const run = runFor('bash', ['-c', command], root, 60_000);
  const { stdout, stderr } = await run.catch((error: { stdout: string; stderr: string }) => error);
  return stdout + stderr;
}
