/**
 * The secret that a root and its workers share, and the version that both must have.
 *
 *     head -c 24 /dev/urandom | base64 > secret      on one machine; then copied to the others
 */
import { readFileSync } from 'node:fs';
import { checkSecret } from '@fourfold/process-group/handshake';
import { messageOf, UserError } from '@fourfold/runtime/errors';

/**
 * From a file, or else as given (a command gives FOURFOLD_SECRET); '' where all hosts are this machine and none is.
 *
 * @throws UserError where the file can't be read, or the secret is short, or absent and a host is another machine
 */
export function secretFor(hosts: readonly string[], file: string | undefined, given: string | undefined): string {
  const secret = file === undefined ? given : readSecret(file);
  for (const host of hosts) checkSecret(secret, host);
  return secret ?? '';
}

function readSecret(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new UserError(`--secret-file ${file} can't be read: ${messageOf(error)}`);
  }
}

/** Fourfold's version, which this package has too. */
export function fourfoldVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
