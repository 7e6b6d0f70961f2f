/** `npx nx run docs:api` writes the API's pages to docs/api, or says what is not documented. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readEntries } from './entries.ts';
import { generateApi } from './generate.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const complaints = await generateApi(root, readEntries(root), join(root, 'docs/api'));
for (const complaint of complaints) console.error(complaint);
if (complaints.length > 0) process.exitCode = 1;
