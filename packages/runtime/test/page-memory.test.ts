import { expect, test } from 'vitest';
import { machineMemory } from '../src/page/memory.ts';

test("a page's tensors have as many bytes as 32 bits count", () => {
  expect(machineMemory()).toBe(0xffffffff + 1);
});
