/**
 * `npm start`: sets everything up, then trains a small Llama on a book and prints text sampled from it.
 *
 * What follows `--` goes to the training command: `npm start -- --steps 100`, `npm start -- --help`.
 * The training process is started directly, not through nx, so that the terminal, Ctrl-C and the exit code are its own;
 * `nx run train:start` starts the same command.
 */
import { prepare, runNode } from './prepare.mjs';

const args = process.argv.slice(2);
const asksForHelp = args.includes('--help') || args.includes('-h');

await prepare({ runtime: !asksForHelp });
process.exitCode = await runNode(['--import', 'tsx', 'packages/train/src/train.ts', ...args]);
