/** Ranks as processes of their own, to be hindered, killed and lied to: test/fault-child.mts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { environmentOf } from './worlds.ts';

/** The program of each rank. */
export const faultChild = fileURLToPath(new URL('fault-child.mts', import.meta.url));

export interface Fate {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  /** What it said in the end; one sentence, where it ended by an error. */
  readonly stderr: string;
  /** When it was gone, as performance.now() has it. */
  readonly at: number;
}

export interface RankUnderTest {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly fate: Promise<Fate>;
  /** Resolves when its output matches; rejects when it ends before. */
  said(pattern: RegExp): Promise<void>;
}

/** Starts a process, `node --import tsx fault-child.mts ...words`, with these variables on top of the test's. */
export function startChild(words: readonly string[], env: Record<string, string | undefined>): RankUnderTest {
  return watch(spawn(process.execPath, ['--import', 'tsx', faultChild, ...words], { env: { ...process.env, ...env } }));
}

export function watch(child: ChildProcess): RankUnderTest {
  const said = { stdout: '', stderr: '' };
  const heard = new EventEmitter();
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream]?.setEncoding('utf8').on('data', (text: string) => {
      said[stream] += text;
      heard.emit('more');
    });
  const fate = new Promise<Fate>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, ...said, at: performance.now() })),
  );
  return {
    process: child,
    pid: child.pid as number,
    fate,
    said: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => pattern.test(said.stdout + said.stderr) && resolve();
        heard.on('more', look);
        void fate.then(({ stderr }) => reject(new Error(`it ended without a word of ${pattern}: ${stderr}`)));
        look();
      }),
  };
}

/** Starts rank `rank` of `size` with its program and flags; `env` takes the place of what a launcher would set. */
export function startRank(
  rank: number,
  size: number,
  port: number,
  words: readonly string[],
  env: Record<string, string | undefined> = {},
): RankUnderTest {
  return startChild(words, { ...environmentOf(rank, size, port), ...env });
}

/** Where a process listens, as Linux tells it; nowhere once it has ended. */
export function doorsOf(pid: number): { host: string; port: number }[] {
  if (!existsSync(`/proc/${pid}/fd`)) return [];
  const own = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // closed meanwhile
      }
    }),
  );
  const lines = readFileSync(`/proc/${pid}/net/tcp`, 'utf8').trim().split('\n').slice(1);
  const LISTENING = '0A';
  return lines.flatMap((line) => {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/);
    if (state !== LISTENING || !own.has(inode)) return [];
    const [host, port] = local.split(':').map((hex) => Buffer.from(hex, 'hex')) as [Buffer, Buffer];
    return [{ host: host.reverse().join('.'), port: port.readUInt16BE() }];
  });
}

export interface Stranger {
  readonly socket: Socket;
  /** Resolves, with all that it was told, when its connection is gone. */
  readonly gone: Promise<Buffer>;
}

/** Connects and says `bytes`, whoever listens. */
export function stranger(port: number, bytes: Uint8Array): Stranger {
  const socket = connect(port, '127.0.0.1');
  const heard: Buffer[] = [];
  socket.on('error', () => {}).on('data', (chunk) => heard.push(chunk));
  const gone = new Promise<Buffer>((resolve) => socket.once('close', () => resolve(Buffer.concat(heard))));
  socket.write(bytes);
  return { socket, gone };
}

// ## What became of several

export const codes = (fates: readonly Fate[]): (number | null)[] => fates.map(({ code }) => code);
export const words = (fates: readonly Fate[]): string[] => fates.map(({ stderr }) => stderr);

/** How long after `start` (milliseconds) the last of them ended. */
export const secondsAfter = (start: number, fates: readonly Fate[]): number =>
  Math.max(...fates.map(({ at }) => at - start)) / 1000;
