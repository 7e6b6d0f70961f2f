/** What stops a set-up. It is no end of the program, which then runs on wasm: setUp returns it as a reason. */

/** Something that this machine lacks or that went wrong outside the program; the message names the cause. */
export class SetupFailure extends Error {
  /** 'SetupFailure'. */
  override readonly name = 'SetupFailure';
}

/**
 * Runs one named step: a SetupFailure, or an error of the operating system, that it throws becomes a SetupFailure that
 * says which step failed. Other errors are defects and pass as they are.
 */
export async function attempt<T>(step: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const cause = causeOf(error);
    if (cause === undefined) throw error;
    throw new SetupFailure(`${step} failed: ${cause}`, { cause: error });
  }
}

/** The cause in words; undefined for a defect. */
function causeOf(error: unknown): string | undefined {
  if (error instanceof SetupFailure) return error.message;
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  const path = 'path' in error && typeof error.path === 'string' ? error.path : 'the cache folder';
  if (error.code === 'ENOSPC' || error.code === 'EDQUOT') return 'the disk is full';
  if (['EROFS', 'EACCES', 'EPERM'].includes(String(error.code))) return `${path} can't be written`;
  return error.message;
}
