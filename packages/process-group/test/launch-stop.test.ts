import { expect, test } from 'vitest';
import { launching, start } from './launch-command.ts';

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 129],
] as const)('%s goes to every rank, once, and the exit code is %i', async (signal, exitCode) => {
  const { process: launcher, ended, said } = start(launching(2, 'signals', ['--max-restarts', '2']));
  await said(/ready.*ready/s);
  launcher.kill(signal);
  setTimeout(() => launcher.kill(signal), 20); // npx passes on the Ctrl-C that the terminal has sent already
  const { code, stdout, stderr } = await ended;
  expect({ code, stderr }).toEqual({ code: exitCode, stderr: '' });
  expect(stdout.match(/got .*/g)).toEqual([`got ${signal}`, `got ${signal}`]);
});

test('a second Ctrl-C kills ranks that stay', async () => {
  const { process: launcher, ended, said } = start(launching(1, 'signals stays'));
  await said(/ready/);
  launcher.kill('SIGINT');
  await said(/got SIGINT/);
  await new Promise((resolve) => setTimeout(resolve, 600));
  launcher.kill('SIGINT');
  const { code, stdout, stderr } = await ended;
  expect({ code, stderr }).toEqual({ code: 130, stderr: 'rank 0 did not end before a second SIGINT: killed\n' });
  expect(stdout.match(/got/g)).toHaveLength(1);
});

test('when the reader of its output goes away, the ranks are ended', async () => {
  const { process: launcher, ended } = start(launching(1, 'signals'));
  launcher.stdout?.destroy();
  expect((await ended).code).toBe(141); // 128 + SIGPIPE, as `| head` gives other programs
});
