/**
 * `npx fourfold launch`: reads the command line and starts the ranks. The other commands are in packages/fourfold.
 *
 *     npx fourfold launch --nproc 4 script.ts
 *
 * A mistake of the user's is one sentence on stderr and exit code 2; a defect of ours keeps its stack, and is 1.
 */
import { UserError } from '@fourfold/runtime/errors';
import { launch } from './launch.ts';
import { helpOfLaunch, readSettings } from './settings.ts';

/**
 * Runs the command, of which `argv` is what follows its name, and sets the process's exit code. The process then ends
 * by itself, when its last output is written; process.exit() here could cut that off.
 */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    const settings = readSettings(argv);
    if (settings === 'help') console.log(helpOfLaunch);
    else process.exitCode = await launch(settings);
  } catch (error) {
    console.error(error instanceof UserError ? error.message : error);
    process.exitCode = error instanceof UserError ? 2 : 1;
  }
}
