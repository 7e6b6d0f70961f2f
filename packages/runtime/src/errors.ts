/**
 * Errors that a user caused and can mend: a bad flag, a missing file, a layout that doesn't divide.
 *
 * The message is one sentence with the key, the value and what would do. Command lines print it without a stack trace
 * and exit with 2; anything else that is thrown is a defect of ours and keeps its stack.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** What went wrong, in words, whatever was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
