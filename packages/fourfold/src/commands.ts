/**
 * The commands of `npx fourfold`, one line each: its name, what its help says of it, and where it is.
 *
 * A command's package is loaded when it is called, so that none waits for another's.
 */
import { runMain } from '@fourfold/cli';
import type { commands as InferenceCommands } from '@fourfold/inference/commands';

/** One command of `npx fourfold`. */
export interface Command {
  /** What the help says of it. */
  readonly says: string;
  /** Gets what follows the command's name, and sets the process's exit code. */
  readonly run: (argv: readonly string[]) => Promise<void>;
}

type Module = { readonly main: Command['run'] };

const command = (name: string, says: string, load: () => Promise<Module>): [string, Command] => [
  name,
  { says, run: async (argv) => (await load()).main(argv) },
];

/** Commands of cluster throw what is the user's mistake, and what is help. */
const ofCluster = (name: 'slurm' | 'kubernetes' | 'metrics') => async (): Promise<Module> => {
  const { [name]: run } = await import('@fourfold/cluster');
  return { main: (argv) => runMain(() => run(argv)) };
};

/** Commands of inference, each a file of its own. */
const ofInference = (name: keyof typeof InferenceCommands) => async (): Promise<Module> => {
  const { commands } = await import('@fourfold/inference/commands');
  return commands[name]();
};

/** One line each; those who add a command add a line, and what it imports to package.json. */
export const commands: ReadonlyMap<string, Command> = new Map([
  command('chat', 'Talks with a model', ofInference('chat')),
  command('generate', 'Lets a model go on from a text', ofInference('generate')),
  command('serve', 'Serves a model over HTTP, as OpenAI does', ofInference('serve')),
  command('perplexity', 'Measures how well a model expects a text', ofInference('perplexity')),
  command('worker', 'Computes a share of a model for a root', ofInference('worker')),
  command('bench', 'Measures how fast a model is computed', ofInference('bench')),
  command('launch', 'Starts a script as several ranks', () => import('@fourfold/process-group/launch')),
  command('slurm', 'Trains on a Slurm cluster', ofCluster('slurm')),
  command('kubernetes', 'Prints a manifest that trains on Kubernetes', ofCluster('kubernetes')),
  command('metrics', 'Gathers what came of all runs below a folder', ofCluster('metrics')),
  command('convert', 'Writes a model with its weights in blocks of 4 or 8 bits', ofInference('convert')),
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
