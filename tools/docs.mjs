/**
 * `npm run docs`: installs the JavaScript packages, then serves the docs site here, as `nx run docs:dev` does.
 *
 * What follows `--` goes to VitePress: `npm run docs -- --port 8080`. The figures and the page that trains compute in
 * the browser, so the tensor runtime is not set up.
 */
import { nx, prepare, runNode } from './prepare.mjs';

await prepare({ runtime: false });
process.exitCode = await runNode([nx, 'run', 'docs:dev', ...process.argv.slice(2)], { NX_DAEMON: 'false' });
