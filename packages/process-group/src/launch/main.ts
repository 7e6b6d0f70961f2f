/**
 * `npx fourfold launch`: reads the command line and starts the ranks. The other commands are in packages/fourfold.
 *
 *     npx fourfold launch --nproc 4 script.ts
 *
 * A mistake of the user's is one sentence on stderr and exit code 2; a defect of ours keeps its stack, and is 1.
 */
import { UserError } from '@fourfold/runtime/errors';
import { launch } from './launch.ts';
import { helpOfFourfold, helpOfLaunch, readSettings } from './settings.ts';

/**
 * Runs the command and sets the process's exit code. The process then ends by itself, when its last output is written;
 * process.exit() here could cut that off.
 */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    process.exitCode = await command(argv);
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    process.exitCode = error instanceof UserError ? 2 : 1;
  }
}

async function command([name, ...rest]: readonly string[]): Promise<number> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') return say(helpOfFourfold);
  if (name !== 'launch') throw new UserError(`${name} is not a command: use npx fourfold launch`);
  const settings = readSettings(rest);
  return settings === 'help' ? say(helpOfLaunch) : launch(settings);
}

function say(text: string): number {
  console.log(text);
  return 0;
}
