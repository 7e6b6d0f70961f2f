/** Opens the backend in a process of its own: backend-child.ts. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { BackendOptions } from '../src/backend.ts';
import { TENSORFLOW_VERSION } from '../src/setup/wheels.ts';
import type { Report } from './backend-child.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
export const TENSORFLOW = `TensorFlow ${TENSORFLOW_VERSION}`;
export const PRODUCT = [[19, 22], [43, 50]]; // biome-ignore format: rows

interface Conditions {
  readonly env?: Record<string, string>;
  readonly node?: string;
}

/** What a process of its own reports that opens the backend with each of these options. */
export function openIn(options: BackendOptions[], conditions: Conditions = {}): Promise<Report & { stderr: string }> {
  const { env = {}, node = process.execPath } = conditions;
  const args = ['--import', 'tsx', 'test/backend-child.ts', JSON.stringify(options)];
  const child = spawn(node, args, { cwd: PACKAGE, env: { ...process.env, ...env } });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve({ ...(JSON.parse(stdout) as Report), stderr }) : reject(new Error(`${code}: ${stderr}`)),
    );
  });
}
