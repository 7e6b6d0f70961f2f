import { totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { machineMemory } from '../src/index.ts';

test('the machine has some memory, and not more than is built in', () => {
  expect(machineMemory()).toBeGreaterThan(2 ** 28);
  expect(machineMemory()).toBeLessThanOrEqual(totalmem());
});
