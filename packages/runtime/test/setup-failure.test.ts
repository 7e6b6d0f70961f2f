import { writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { attempt, SetupFailure } from '../src/setup/failure.ts';

/** What `attempt` makes of an error. */
const caught = (error: unknown): Promise<unknown> =>
  attempt('opening the cache', () => Promise.reject(error)).catch((made: unknown) => made);
const systemError = (code: string, path?: string) =>
  Object.assign(new Error(`${code}: in the system's words`), path === undefined ? { code } : { code, path });

test('a step that succeeds gives what it made', async () => {
  expect(await attempt('counting', async () => 3)).toBe(3);
});

test('a failure names the step and the cause, and keeps the first error', async () => {
  const first = new SetupFailure('there is no pip');
  const made = await caught(first);
  expect(made).toBeInstanceOf(SetupFailure);
  expect(made).toMatchObject({ message: 'opening the cache failed: there is no pip', cause: first });
});

test('a full disk and a used-up quota are called a full disk', async () => {
  for (const code of ['ENOSPC', 'EDQUOT'])
    expect(await caught(systemError(code, '/cache/x'))).toEqual(
      new SetupFailure('opening the cache failed: the disk is full'),
    );
});

test('what must not be written is named, where the system names it', async () => {
  for (const code of ['EROFS', 'EACCES', 'EPERM']) {
    expect(await caught(systemError(code, '/cache/x'))).toHaveProperty(
      'message',
      "opening the cache failed: /cache/x can't be written",
    );
    expect(await caught(systemError(code))).toHaveProperty(
      'message',
      "opening the cache failed: the cache folder can't be written",
    );
  }
});

test('another error of the system is told in its own words', async () => {
  const work = () => writeFile('/no/such/folder/file', '');
  await expect(attempt('writing', work)).rejects.toEqual(
    new SetupFailure("writing failed: ENOENT: no such file or directory, open '/no/such/folder/file'"),
  );
});

test('a defect passes as it is', async () => {
  for (const defect of [new TypeError('x is undefined'), 'a string']) expect(await caught(defect)).toBe(defect);
});
