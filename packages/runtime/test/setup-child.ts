/** Runs setUp with the options given as JSON; its last line is what setUp returned and the milliseconds it took. */
import { type SetupOptions, setUp } from '../src/setup/index.ts';

const start = performance.now();
const result = await setUp(JSON.parse(process.argv[2] ?? '{}') as SetupOptions);
console.log(JSON.stringify({ result, milliseconds: performance.now() - start }));
