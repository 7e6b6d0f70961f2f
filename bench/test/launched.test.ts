import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';
import { launched } from '../src/launched.ts';
import { temporaryFolder } from './command.ts';

const folder = temporaryFolder();
const script = fileURLToPath(new URL('launched-rank.ts', import.meta.url));
const slow = { timeout: 120_000 }; // starts a few processes; seconds, on a machine that does nothing else

test.each([1, 2])('%i ranks: what rank 0 wrote, and no folder is left', slow, async (ranks) => {
  vi.stubEnv('TMPDIR', folder); // nobody else's folders in it
  const task = { some: ['thing'] };
  expect(await launched(ranks, script, task)).toMatchObject({ size: ranks, task });
  expect(readdirSync(folder).filter((name) => name.startsWith('fourfold-ranks-'))).toEqual([]);
  vi.unstubAllEnvs();
});

test("a rank's sentence for the user is thrown as one", slow, async () => {
  await expect(launched(1, script, { fails: 'user' })).rejects.toMatchObject({
    name: 'UserError',
    message: 'fails=user: use another',
  });
});

test('a rank that fails: what it said, and who it was', slow, async () => {
  const failing = launched(2, script, { fails: 'defect' });
  await expect(failing).rejects.toThrow(/rank 1 exited with code 1; its last words:[\s\S]*rank 1 found a defect/);
});
