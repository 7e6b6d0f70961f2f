/**
 * The launcher's command line: its own flags, then the script, then everything that is the script's.
 *
 *     fourfold launch --nproc 4 --grace 5 train.ts --steps 100 --nproc 3
 *                     └── the launcher's ───┘ └──── the script's, as it stands ────┘
 */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { UserError } from '@fourfold/runtime/errors';

/** A host's name or address, and a port of it. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What the launcher was told. */
export interface Settings {
  /** Ranks on this node. */
  readonly nproc: number;
  readonly nnodes: number;
  readonly nodeRank: number;
  /** Where rank 0 will listen; undefined: a free port of this machine. */
  readonly rendezvous: Address | undefined;
  readonly maxRestarts: number;
  /** Seconds between asking the ranks to end and killing them. */
  readonly grace: number;
  /** Seconds that ranks wait for each other; undefined: as the script has it. */
  readonly timeout: number | undefined;
  /** The script's absolute path. */
  readonly script: string;
  readonly args: readonly string[];
}

/** What --help prints. */
export const helpOfLaunch = `npx fourfold launch [flags] script.ts [the script's own arguments]

Starts the script once for each rank, tells each who it is (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and
more), shows what they print, and ends them all when one fails.

Flags:
  --nproc N               Ranks on this machine (default 1).
  --nnodes N              Machines that take part (default 1). Start the launcher on each of them, with the same flags.
  --node-rank I           Which of the machines this is, from 0.
  --rendezvous HOST:PORT  Where the ranks meet: an address of machine 0 (default: a free port of 127.0.0.1).
  --max-restarts N        How often all ranks are started again after a failure (default 0).
  --timeout SECONDS       How long ranks wait for each other, given to them as FOURFOLD_TIMEOUT.
  --grace SECONDS         How long ranks may take to end when asked to, before they are killed (default 10).
  --help                  Prints this.

Between machines, set FOURFOLD_SECRET to the same text of at least 16 characters on each.

Examples:
  npx fourfold launch --nproc 4 train.ts --steps 100
  npx fourfold launch --nproc 2 --nnodes 2 --node-rank 0 --rendezvous 10.0.0.1:29500 train.ts
  npx fourfold launch --nproc 2 --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500 train.ts

Exit code: 0 if every rank ended with 0, else that of the rank which failed first; 128 + n for signal n.`;

/** The launcher's own flags, as node:util's parseArgs takes them; those of the script come after its name. */
const FLAGS = {
  nproc: { type: 'string' },
  nnodes: { type: 'string' },
  'node-rank': { type: 'string' },
  rendezvous: { type: 'string' },
  'max-restarts': { type: 'string' },
  timeout: { type: 'string' },
  grace: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** The settings of a command line, or 'help' if it asks for help. Throws UserError where it makes no sense. */
export function readSettings(argv: readonly string[]): Settings | 'help' {
  const { flags, script, args } = split(argv);
  if (flags.has('help')) return 'help';
  const nproc = wholeNumber(flags, 'nproc', 1, 1, 1024);
  const nnodes = wholeNumber(flags, 'nnodes', 1, 1, 1024);
  const rendezvous = flags.get('rendezvous');
  if (nnodes > 1 && rendezvous === undefined)
    throw new UserError(`--nnodes ${nnodes} needs --rendezvous HOST:PORT, an address of machine 0`);
  if (nnodes > 1 && !flags.has('node-rank'))
    throw new UserError(`--nnodes ${nnodes} needs --node-rank, from 0 to ${nnodes - 1}: which of them this machine is`);
  return {
    nproc,
    nnodes,
    nodeRank: wholeNumber(flags, 'node-rank', 0, 0, nnodes - 1),
    rendezvous: rendezvous === undefined ? undefined : readAddress(rendezvous),
    maxRestarts: wholeNumber(flags, 'max-restarts', 0, 0, 1000),
    grace: seconds(flags, 'grace') ?? 10,
    timeout: seconds(flags, 'timeout'),
    script: checkScript(script),
    args,
  };
}

/** Cuts the command line at the script: the first word that is no flag, nor a flag's value. */
function split(argv: readonly string[]) {
  const { tokens } = parseArgs({
    args: [...argv],
    options: FLAGS,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const at = tokens.find((token) => token.kind === 'positional')?.index ?? argv.length;
  const flags = new Map<string, string | undefined>();
  for (const token of tokens) {
    if (token.kind !== 'option' || token.index > at) continue;
    const { name, rawName, value } = token;
    if (!(name in FLAGS)) throw new UserError(`${rawName} is not a flag of launch: --help lists those there are`);
    if (flags.has(name)) throw new UserError(`${rawName} is given twice: give it once`);
    flags.set(name, value);
  }
  return { flags, script: argv[at], args: argv.slice(at + 1) };
}

/** Texts by the flag's name. */
type Flags = ReadonlyMap<string, string | undefined>;

/** A flag's whole number from `least` to `most`, or `otherwise` where it wasn't given. */
function wholeNumber(flags: Flags, name: string, otherwise: number, least: number, most: number): number {
  if (!flags.has(name)) return otherwise;
  const text = flags.get(name) ?? '';
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  const range = least === most ? `only ${least} works here` : `use a whole number from ${least} to ${most}`;
  throw new UserError(`${said(name, text)}: ${range}`);
}

/** At most a day, since setTimeout can't count beyond 24 of them. */
function seconds(flags: Flags, name: string): number | undefined {
  if (!flags.has(name)) return undefined;
  const text = flags.get(name) ?? '';
  const value = Number(text);
  if (/^\d*\.?\d+$/.test(text) && value <= 86_400) return value;
  throw new UserError(`${said(name, text)}: use a number of seconds, up to 86400`);
}

/** The flag as the user wrote it, for messages. */
const said = (name: string, text: string): string => `--${name} ${text === '' ? "''" : text}`;

/** 'host:29500', '10.0.0.1:29500' or '[fe80::1]:29500'. */
function readAddress(text: string): Address {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw new UserError(`${said('rendezvous', text)}: use HOST:PORT, with a port from 1 to 65535`);
}

/** The script's absolute path. */
function checkScript(script: string | undefined): string {
  if (script === undefined)
    throw new UserError('there is no script to launch: use npx fourfold launch --nproc 4 script.ts');
  const stats = statSync(script, { throwIfNoEntry: false });
  if (!stats?.isFile())
    throw new UserError(`${script} is not there to launch: name a file of TypeScript or JavaScript`);
  return resolve(script);
}
