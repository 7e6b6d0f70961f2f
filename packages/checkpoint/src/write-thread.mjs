/**
 * A thread that writes files, so that training needn't wait for the disk or for SHA-256.
 *
 *     main thread    step | copy | step | step | step | step        the copies' memory moves here and back
 *     this thread                | write, hash, sync |
 *
 * Plain JavaScript: a thread that had to load a TypeScript loader first would take seconds to start.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';

/** Writes the parts one after the other, and answers with size and hash, or what went wrong; and gives them back. */
parentPort?.on('message', async ({ path, parts }) => {
  const written = await write(path, parts).catch((error) => ({
    problem: `${path} cannot be written: ${error.message}`,
  }));
  parentPort?.postMessage({ written, parts }, [...new Set(parts.map(({ buffer }) => buffer))]);
});

/** @type {(path: string, parts: Uint8Array[]) => Promise<{ bytes: number, sha256: string }>} */
async function write(path, parts) {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  try {
    for (const part of parts) {
      hash.update(part);
      await file.writeFile(part);
    }
    await file.sync();
    return { bytes: (await file.stat()).size, sha256: hash.digest('hex') };
  } finally {
    await file.close();
  }
}
