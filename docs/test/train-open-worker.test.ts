import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { openWorker } from '../src/train/open-worker.ts';

afterEach(() => vi.unstubAllGlobals());

test("the worker's program is there, and a module", () => {
  const made: [URL, object][] = [];
  vi.stubGlobal(
    'Worker',
    class {
      constructor(address: URL, options: object) {
        made.push([address, options]);
      }
    },
  );
  openWorker();
  const [[address, options] = []] = made;
  expect(existsSync(fileURLToPath(String(address)))).toBe(true);
  expect(options).toEqual({ type: 'module' });
});
