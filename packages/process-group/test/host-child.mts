/** One rank of test/host-program.ts, on a host of its own: prints its result as JSON. */
import { openBackend } from '@fourfold/runtime';
import { inWorld } from '../src/index.ts';
import { hostProgram } from './host-program.ts';

await openBackend({ device: 'cpu', threads: 1 });
console.log(JSON.stringify(await inWorld({ meetingSeconds: 30, timeoutSeconds: 60 }, hostProgram)));
