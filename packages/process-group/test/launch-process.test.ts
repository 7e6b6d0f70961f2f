import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { Output } from '../src/launch/output.ts';
import { describeEnding, type Ending, exitCodeOf, RankProcess } from '../src/launch/process.ts';
import { isAlive, until } from './launch-command.ts';

/** Rank 0, running a line of JavaScript, and what it prints. */
function run(code: string) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const output = new Output(stdout, stderr, [0], () => {});
  const rank = new RankProcess({ rank: 0, command: ['-e', code], env: process.env }, output);
  return { rank, shown: (): string | undefined => stdout.read()?.toString() };
}

test('an exit code is how it ended, and nobody sent it anything', async () => {
  const { rank, shown } = run("console.log('hello'); process.exitCode = 3");
  expect(await rank.ended).toMatchObject({ rank: 0, code: 3, signal: null, sent: new Set(), lastWords: [] });
  expect(rank.isRunning).toBe(false);
  await rank.printed;
  expect(shown()).toBe('[rank 0] hello\n');
});

test('a signal is how it ended, and whether it was sent by us is known', async () => {
  const own = run("process.kill(process.pid, 'SIGKILL')");
  const ours = run('setInterval(() => {}, 1000)');
  ours.rank.send('SIGTERM');
  expect(await own.rank.ended).toMatchObject({ code: null, signal: 'SIGKILL', sent: new Set() });
  expect(await ours.rank.ended).toMatchObject({ code: null, signal: 'SIGTERM', sent: new Set(['SIGTERM']) });
});

test('its last words are the last ten lines of stderr that say something', async () => {
  const { rank } = run(
    "for (let i = 0; i < 20; i++) console.error('word ' + i); console.error(); throw new Error('no')",
  );
  const { lastWords } = await rank.ended;
  await rank.printed;
  expect(lastWords).toHaveLength(10);
  expect(lastWords[0]).toBe('word 14');
  expect(lastWords.at(-1)).toBe('Error: no');
});

test('SIGKILL takes along the processes that it has started, and so does its own end', async () => {
  const spawn =
    "const { pid } = require('child_process').spawn('sleep', ['100'], { stdio: 'inherit' }); console.log(pid);";
  const pids = [`${spawn} setInterval(() => {}, 1000)`, `${spawn} process.exit(0)`].map(async (code, i) => {
    const { rank, shown } = run(code);
    const said = await until(() => shown());
    if (i === 0) rank.send('SIGKILL');
    await rank.printed;
    return Number(/\d+\n/.exec(said)?.[0]);
  });
  for (const pid of await Promise.all(pids)) {
    expect(pid).toBeGreaterThan(1);
    await until(() => (isAlive(pid) ? undefined : true));
  }
});

test('messages of other kinds are passed over, and a place is kept', async () => {
  const { rank } = run("process.send('x'); process.send({ fourfold: { place: 'tp0' } }, () => process.exit(1))");
  expect(await rank.ended).toMatchObject({ place: 'tp0' });
});

const ending: Ending = { rank: 2, place: undefined, code: 3, signal: null, sent: new Set(), lastWords: [] };

test('how a rank ended is told in a line, with its last words below', () => {
  expect(describeEnding(ending)).toBe('rank 2 exited with code 3');
  expect(describeEnding({ ...ending, place: 'dp1 tp0', code: null, signal: 'SIGKILL' })).toBe(
    'rank 2 [dp1 tp0] was killed by SIGKILL',
  );
  expect(describeEnding({ ...ending, lastWords: ['a', 'b'] })).toBe(
    'rank 2 exited with code 3; its last words:\n    a\n    b',
  );
});

test('the exit code of a signal is 128 and its number', () => {
  expect(exitCodeOf(ending)).toBe(3);
  expect(exitCodeOf({ code: null, signal: 'SIGKILL' })).toBe(137);
  expect(exitCodeOf({ code: null, signal: 'SIGTERM' })).toBe(143);
});
