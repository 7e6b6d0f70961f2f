/** Workers in processes of their own, as users start them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Address, addressOf } from '../src/cluster/offer.ts';

const FOURFOLD = fileURLToPath(new URL('../../fourfold/bin/fourfold.mjs', import.meta.url));
export const SECRET = 'a secret for tests, long enough';

export interface WorkerProcess {
  readonly address: Address;
  readonly child: ChildProcess;
  /** What it has printed. */
  readonly lines: string[];
  /** Resolves with the first line, printed or to come, that matches. */
  line(pattern: RegExp): Promise<string>;
  stop(): Promise<void>;
}

export const newFolder = (): string => mkdtempSync(join(tmpdir(), 'fourfold-worker-'));

/** `npx fourfold worker` at a free port, with its own cache. */
export async function startWorkerProcess(...flags: string[]): Promise<WorkerProcess> {
  const own = flags.includes('--cache') ? [] : ['--cache', newFolder()];
  const port = flags.includes('--port') ? [] : ['--port', '0'];
  const argv = [FOURFOLD, 'worker', '--threads', '1', ...port, ...own, ...flags];
  const child = spawn(process.execPath, argv, { env: { ...process.env, FOURFOLD_SECRET: SECRET } });
  const lines: string[] = [];
  const hearers = new Set<() => void>();
  const hear = (chunk: Buffer) => {
    lines.push(...String(chunk).split('\n').filter(Boolean));
    for (const hearer of hearers) hearer();
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const line = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const found = lines.find((each) => pattern.test(each));
        if (found) resolve(found);
      };
      hearers.add(look);
      child.once('exit', (code) => reject(new Error(`the worker ended with ${code}: ${lines.join('\n')}`)));
      look();
    });
  const waiting = await line(/waits for a root at/);
  const stop = () =>
    new Promise<void>((resolve) => {
      if (child.exitCode !== null || child.signalCode !== null) return resolve();
      child.once('exit', () => resolve());
      child.kill('SIGCONT'); // one that a test has stopped hears nothing
      child.kill('SIGTERM');
    });
  return { address: addressOf(waiting.replace(/^.* at /, '')), child, lines, line, stop };
}

/** A connection of this process with itself: both ends, which the test destroys. */
export async function socketPair(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const arrival = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const one = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const other = await arrival;
  server.close();
  return [one, other];
}
