/**
 * `npx fourfold COMMAND ...`: the table of commands. Each is one function of the package that it belongs to, loaded
 * when it is asked for.
 */
import { HelpWanted, runMain } from '@fourfold/cli';
import { UserError } from '@fourfold/runtime/errors';

interface Command {
  readonly does: string;
  readonly run: (argv: readonly string[]) => Promise<void>;
}

const commands: Readonly<Record<string, Command>> = {
  launch: {
    does: 'Starts a script as several ranks that compute together.',
    run: async (argv) => (await import('@fourfold/process-group/launch')).main(['launch', ...argv]),
  },
  slurm: {
    does: 'Training runs as jobs of a Slurm cluster: submit, status, resubmit.',
    run: async (argv) => (await import('@fourfold/cluster')).slurm(argv),
  },
  kubernetes: {
    does: 'Prints a manifest that trains on a Kubernetes cluster.',
    run: async (argv) => (await import('@fourfold/cluster')).kubernetes(argv),
  },
  metrics: {
    does: 'Gathers what came of all runs below a folder.',
    run: async (argv) => (await import('@fourfold/cluster')).metrics(argv),
  },
};

function help(): string {
  const names = Object.keys(commands);
  const width = Math.max(...names.map((name) => name.length));
  const lines = Object.entries(commands).map(([name, { does }]) => `  ${name.padEnd(width)}  ${does}`);
  return ['npx fourfold COMMAND', '', 'Commands:', ...lines, '', 'Each tells its settings by --help.'].join('\n');
}

/** Runs the command and sets the process's exit code; a mistake of the user's is one sentence, and 2. */
export const main = ([name, ...argv]: readonly string[]): Promise<void> =>
  runMain(async () => {
    if (name === undefined || name === '--help' || name === '-h' || name === 'help') throw new HelpWanted(help());
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (!command) throw new UserError(`${name} is not a command: use ${Object.keys(commands).join(', ')}`);
    await command.run(argv);
  });
