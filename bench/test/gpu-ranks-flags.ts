/** What the tests of gpu-ranks.ts run: a shape that takes seconds, on CPUs. */
export const nano = ['gpu-ranks.ts', '--device', 'cpu', '--model', 'nano', '--layers', '1', '--seq', '16'] as const;

/** The flags of `nano`, those that are given again left out. */
export function withFlags(flags: readonly string[]): string[] {
  const usual = nano
    .slice(1)
    .flatMap((flag, i, all) => (i % 2 === 0 && flag !== flags[0] ? [flag, all[i + 1] ?? ''] : []));
  return [...usual, ...flags];
}
