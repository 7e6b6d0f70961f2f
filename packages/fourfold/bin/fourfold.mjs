#!/usr/bin/env node
/** `npx fourfold`: has tsx read TypeScript in this process, then runs the command itself, src/main.ts. */
import { register } from 'tsx/esm/api';

register();
const { main } = await import('../src/main.ts');
await main(process.argv.slice(2));
