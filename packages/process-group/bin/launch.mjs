#!/usr/bin/env node
/** `npx fourfold launch` by itself: has tsx read TypeScript in this process, then runs src/launch/main.ts. */
import { register } from 'tsx/esm/api';

register();
const { main } = await import('../src/launch/main.ts');
await main(process.argv.slice(2));
