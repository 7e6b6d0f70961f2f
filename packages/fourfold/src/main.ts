/**
 * `npx fourfold COMMAND`: finds the command and hands it the rest of the line.
 *
 *     npx fourfold launch --nproc 4 script.ts
 *
 * Each command sets its exit code itself; only a name that is none ends here, with one sentence and exit code 2.
 */
import { commands, helpOfFourfold } from './commands.ts';

/** Runs the command. The process then ends by itself, when its last output is written. */
export async function main([name, ...rest]: readonly string[]): Promise<void> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') return console.log(helpOfFourfold());
  const command = commands.get(name);
  if (command) return command.run(rest);
  console.error(`${name} is not a command: use npx fourfold with ${[...commands.keys()].join(', ')}`);
  process.exitCode = 2;
}
