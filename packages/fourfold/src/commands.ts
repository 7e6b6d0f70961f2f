/**
 * The commands of `npx fourfold`, one line each: its name, what its help says of it, and where it is.
 *
 * A command's package is loaded when it is called, so that none waits for another's.
 */

export interface Command {
  readonly says: string;
  /** Gets what follows the command's name, and sets the process's exit code. */
  readonly run: (argv: readonly string[]) => Promise<void>;
}

type Module = { readonly main: Command['run'] };

const command = (name: string, says: string, load: () => Promise<Module>): [string, Command] => [
  name,
  { says, run: async (argv) => (await load()).main(argv) },
];

/** One line each; those who add a command add a line, and what it imports to package.json. */
export const commands: ReadonlyMap<string, Command> = new Map([
  command('launch', 'Starts a script as several ranks', () => import('@fourfold/process-group/launch')),
  command('create-config', "Writes a run's configuration", () => import('./create-config.ts')),
]);

/** What `npx fourfold` says of itself. */
export function helpOfFourfold(): string {
  const width = Math.max(...[...commands.keys()].map((name) => name.length));
  const lines = [...commands].map(
    ([name, { says }]) => `  ${name.padEnd(width)}   ${says}: npx fourfold ${name} --help`,
  );
  return ['npx fourfold COMMAND', '', 'Commands:', ...lines].join('\n');
}
