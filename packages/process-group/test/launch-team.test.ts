import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Output } from '../src/launch/output.ts';
import type { Ending } from '../src/launch/process.ts';
import { causeOf, Team } from '../src/launch/team.ts';
import { until } from './launch-command.ts';

let folder: string;
/** A file whose coming a rank waits for. */
let gate: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'team-'));
  gate = join(folder, 'gate');
});
afterEach(() => rmSync(folder, { recursive: true }));

const forever = 'setInterval(() => {}, 1000)';
/** Once the file is there, exits with a code. */
const exitWhen = (file: string, code: number): string =>
  `setInterval(() => require('fs').existsSync('${file}') && process.exit(${code}), 10)`;
const stubborn = `process.on('SIGTERM', () => console.log('not I')); console.log('ready'); ${forever}`;

/** A team whose ranks run a line of JavaScript each. */
function teamOf(codes: string[], grace = 10) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const output = new Output(stdout, stderr, [...codes.keys()], () => {});
  const plans = codes.map((code, rank) => ({ rank, command: ['-e', code], env: process.env }));
  let text = '';
  stdout.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  return { team: new Team(plans, grace, output), stderr, shown: () => text };
}

test('when all ranks end with 0 there is no failure', async () => {
  const { team } = teamOf(['0', "console.log('fine')"]);
  expect(await team.ended).toBeUndefined();
});

test('when one fails the others are asked to end, and it is the one that is told', async () => {
  const { team } = teamOf([forever, 'setTimeout(() => process.exit(5), 100)', forever]);
  expect(await team.ended).toMatchObject({ rank: 1, code: 5 });
});

test('a rank that ignores SIGTERM is killed after the grace', async () => {
  const { team, stderr, shown } = teamOf([stubborn, exitWhen(gate, 4)], 0.3);
  await until(() => (/ready/.test(shown()) ? true : undefined));
  writeFileSync(gate, '');
  const start = performance.now();
  expect(await team.ended).toMatchObject({ rank: 1, code: 4 });
  expect(performance.now() - start).toBeLessThan(5000);
  expect(shown()).toBe('[rank 0] ready\n[rank 0] not I\n');
  expect(String(stderr.read())).toBe('rank 0 did not end within 0.3 s of SIGTERM: killed\n');
});

test('a rank killed with -9 is the one told, though a peer was seen to end before it', async () => {
  // It dies while the launcher is ending the others: as one does that takes a while to be gone.
  const dies = `process.on('SIGTERM', () => process.kill(process.pid, 'SIGKILL')); console.log('ready'); ${forever}`;
  const { team, shown } = teamOf([exitWhen(gate, 1), dies]);
  await until(() => (/ready/.test(shown()) ? true : undefined));
  writeFileSync(gate, '');
  expect(await team.ended).toMatchObject({ rank: 1, signal: 'SIGKILL' });
});

const ending: Ending = { rank: 0, place: undefined, code: 0, signal: null, sent: new Set(), lastWords: [] };
const exited = (rank: number, code: number): Ending => ({ ...ending, rank, code });
const killed = (rank: number, signal: NodeJS.Signals, ...sent: NodeJS.Signals[]): Ending => ({
  ...ending,
  rank,
  code: null,
  signal,
  sent: new Set(sent),
});

test.each<[string, number | undefined, Ending[]]>([
  ['nobody, when all went well', undefined, [exited(1, 0), exited(0, 0)]],
  ['the first that failed, in the order of their ends', 1, [exited(2, 0), exited(1, 3), exited(0, 1)]],
  ['a crash rather than an exit just before', 2, [exited(0, 1), killed(2, 'SIGSEGV')]],
  ['SIGKILL of another, also after our SIGTERM', 2, [exited(0, 1), killed(2, 'SIGKILL', 'SIGTERM')]],
  ['not one that we killed', 0, [exited(0, 1), killed(2, 'SIGKILL', 'SIGTERM', 'SIGKILL')]],
  ['not one that obeyed our SIGTERM', 0, [exited(0, 1), killed(2, 'SIGTERM', 'SIGTERM')]],
  ['not a crash on the way out', 0, [exited(0, 1), killed(2, 'SIGABRT', 'SIGTERM')]],
])('the cause is %s', (_, rank, endings) => {
  expect(causeOf(endings)?.rank).toBe(rank);
});
