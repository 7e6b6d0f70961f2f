import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fourfoldVersion, secretFor } from '../src/cluster/secret.ts';
import { newFolder, SECRET } from './cluster-processes.ts';

test('a secret comes from the file, or as given, and other machines need one', () => {
  const file = join(newFolder(), 'secret');
  writeFileSync(file, `${SECRET}\n`);
  expect(secretFor(['10.0.0.2'], file, 'ignored')).toBe(SECRET);
  expect(secretFor(['10.0.0.2'], undefined, SECRET)).toBe(SECRET);
  expect(secretFor(['127.0.0.1'], undefined, undefined)).toBe('');
  expect(() => secretFor(['127.0.0.1', '10.0.0.2'], undefined, undefined)).toThrow('FOURFOLD_SECRET is missing');
  expect(() => secretFor(['10.0.0.2'], undefined, 'short')).toThrow('FOURFOLD_SECRET is too short');
  expect(() => secretFor([], '/nowhere/secret', SECRET)).toThrow("--secret-file /nowhere/secret can't be read");
  expect(fourfoldVersion()).toMatch(/^\d+\.\d+\.\d+$/);
});
