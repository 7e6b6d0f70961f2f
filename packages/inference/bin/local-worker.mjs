/** A worker that another process of this machine has started: has tsx read TypeScript, then serves its parent. */
import { register } from 'tsx/esm/api';

register();
const { serveParent } = await import('../src/cluster/local-worker.ts');
await serveParent(process.argv.slice(2));
