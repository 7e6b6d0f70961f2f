/** Runs a command of this package as `npx fourfold` would, in this process, and keeps what it prints. */
import { vi } from 'vitest';

export async function printed(work: () => Promise<void>): Promise<string> {
  const lines: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line));
  try {
    await work();
    return lines.join('\n');
  } finally {
    log.mockRestore();
  }
}
