/**
 * `npm run chat`: sets everything up, then talks with a small model, which is fetched when it isn't there.
 *
 * What follows `--` goes to the command: `npm run chat -- --model FOLDER`, `npm run chat -- --help`. The command is
 * started directly, not through nx, so that the terminal, Ctrl-C and the exit code are its own.
 */
import { prepare, runNode } from './prepare.mjs';

const args = process.argv.slice(2);
const asksForHelp = args.includes('--help') || args.includes('-h');

await prepare({ runtime: !asksForHelp });
process.exitCode = await runNode(['packages/fourfold/bin/fourfold.mjs', 'chat', ...args]);
