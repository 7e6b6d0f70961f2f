#!/usr/bin/env node
/** `fourfold launch` alone, for packages below the one that has all commands: tsx reads TypeScript in this process. */
import { register } from 'tsx/esm/api';

register();
const { main } = await import('../src/launch/main.ts');
await main(process.argv.slice(2));
