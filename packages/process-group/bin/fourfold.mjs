#!/usr/bin/env node
/** `npx fourfold`: has tsx read TypeScript in this process, then runs the command itself, src/launch/main.ts. */
import { register } from 'tsx/esm/api';

register();
const { main } = await import('../src/launch/main.ts');
await main(process.argv.slice(2));
