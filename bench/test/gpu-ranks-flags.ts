/** How the tests of gpu-ranks.ts call it. */
import { expect, vi } from 'vitest';
import { bench } from './command.ts';

/** A shape that takes seconds, on CPUs. */
export const nano = ['gpu-ranks.ts', '--device', 'cpu', '--model', 'nano', '--layers', '1', '--seq', '16'] as const;

/** The flags of `nano`, those that are given again left out. */
export function withFlags(flags: readonly string[]): string[] {
  const usual = nano
    .slice(1)
    .flatMap((flag, i, all) => (i % 2 === 0 && flag !== flags[0] ? [flag, all[i + 1] ?? ''] : []));
  return [...usual, ...flags];
}

/** With these GPUs visible and no flags the command ends with a sentence and has not begun. */
export async function expectRefusedWith(devices: string, sentence: RegExp): Promise<void> {
  vi.stubEnv('CUDA_VISIBLE_DEVICES', devices);
  const { code, stdout, stderr } = await bench('gpu-ranks.ts');
  vi.unstubAllEnvs();
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(sentence);
}
