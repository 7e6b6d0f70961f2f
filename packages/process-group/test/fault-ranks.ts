/** Ranks as processes of their own, to be hindered, killed and lied to: test/fault-child.mts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, expect } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { until } from './launch-command.ts';
import { environmentOf } from './worlds.ts';

/** The program of each rank. */
export const faultChild = fileURLToPath(new URL('fault-child.mts', import.meta.url));

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL'); // those of tests that failed
});

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
  children.push(child);
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

/** Starts one rank for each program; `flags` go to all, `env` to each. */
export async function startRanks(
  programs: readonly string[][],
  flags: string[] = [],
  env: Record<string, string> = {},
) {
  const port = await freePort();
  const ranks = programs.map((program, rank) => startRank(rank, programs.length, port, [...flags, ...program], env));
  return { port, ranks, fates: () => Promise.all(ranks.map(({ fate }) => fate)) };
}

/** What the launcher is told, to start two ranks: flags of its own, then the program. */
export const launchingRanks = (...flags: string[]) => ['--nproc', '2', ...flags, faultChild];

/** The processes that a process has started, in the order of starting. */
export function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return text.trim().split(' ').map(Number);
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

/** The ports of the store and of the ranks' own, once all are open. */
export function openDoors(ranks: readonly RankUnderTest[], store: number): Promise<[number, number[]]> {
  return until(() => {
    const open = ranks.flatMap(({ pid }) => doorsOf(pid).map((door) => door.port));
    return open.length === ranks.length + 1 ? [store, open.filter((one) => one !== store)] : undefined;
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

/** 'float32 [4] (group world)' */
export const ofWorld = (count: number): string => `float32 [${count}] (group world)`;
export const codes = (fates: readonly Fate[]): (number | null)[] => fates.map(({ code }) => code);
export const words = (fates: readonly Fate[]): string[] => fates.map(({ stderr }) => stderr);

/** How long after `start` (milliseconds) the last of them ended. */
export const secondsAfter = (start: number, fates: readonly Fate[]): number =>
  Math.max(...fates.map(({ at }) => at - start)) / 1000;

/** Rank 1 calls `odd` where ranks 0 and 2 call `usual`: every rank ends and names both with their `calls`. */
export async function expectBothNamed(usual: string[], odd: string[], calls: readonly string[]): Promise<void> {
  const third = usual[0]?.startsWith('send') ? ['barrier'] : usual;
  const { fates } = await startRanks([usual, odd, third]);
  const all = await fates();
  expect(codes(all)).toEqual([1, 1, 1]);
  for (const { stderr } of all) {
    expect(stderr.match(/rank \d (calls|sends|receives)/g)).toHaveLength(2);
    for (const part of ['rank 1', ...calls]) expect(stderr).toContain(part);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  }
}

/** Rank 1 of 2, alone and with these variables, ends within a second and a bit, in a sentence. */
export async function expectNoAnswer(env: Record<string, string>, sentence: RegExp): Promise<void> {
  const rank = startRank(1, 2, await freePort(), ['--meeting', '1', 'barrier'], env);
  await rank.said(/start/);
  const begin = performance.now();
  const fate = await rank.fate;
  expect(fate.code).toBe(2);
  expect(fate.stderr).toMatch(sentence);
  expect(fate.stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(secondsAfter(begin, [fate])).toBeLessThan(3);
}
