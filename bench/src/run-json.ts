/**
 * What another program measured: it prints JSON, and this returns it.
 */
import { spawn } from 'node:child_process';
import { UserError } from '@fourfold/runtime';
import type { Measured } from './gpu-step.ts';

/** Runs a command with `input` and returns the JSON that it prints last. */
export function runJson(command: string, args: readonly string[], input = ''): Promise<Measured> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const [out, errors]: [string[], string[]] = [[], []];
  child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
  child.stdin.on('error', () => {}); // a child that ends at once reads nothing: its status tells
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      const said = errors.join('').trim();
      if (code === 0) resolve(JSON.parse(out.join('').trim().split('\n').at(-1) as string) as Measured);
      else reject(code === 2 ? new UserError(said) : new Error(`${args.at(-1)} failed: ${said.slice(-2000)}`));
    });
  });
}
