/**
 * Errors that a user caused and can mend: a bad flag, a missing file, a layout that doesn't divide.
 *
 * The message is one sentence with the key, the value and what would do. Command lines print it without a stack trace
 * and exit with 2; anything else that is thrown is a defect of ours and keeps its stack.
 */

/** A mistake of the user's, who can mend it. */
export class UserError extends Error {
  /** 'UserError'. */
  override readonly name = 'UserError';
}

/** What went wrong, in words, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/**
 * A run that can't go on for a reason outside this process: a peer died, or a link. One sentence; commands exit with 1.
 */
export class RunError extends Error {
  /** 'RunError'. */
  override readonly name = 'RunError';
}

/** Ends a command: sentences for UserError (exit code 2) and RunError (1); all else shows its stack, and is 1. */
export function exitWith(error: unknown): never {
  const isSentence = error instanceof UserError || error instanceof RunError;
  console.error(isSentence ? error.message : error);
  process.exit(error instanceof UserError ? 2 : 1);
}
