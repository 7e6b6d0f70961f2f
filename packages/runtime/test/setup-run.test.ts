import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { type RunOptions, run } from '../src/setup/run.ts';

const node = (script: string, options?: RunOptions) => run(process.execPath, ['-e', script], options);

test('a program gives its exit status and what it printed on either stream', async () => {
  const outcome = await node("console.log('made'); console.error('warned'); process.exitCode = 3");
  expect(outcome).toEqual({ code: 3, output: 'made\n', errors: 'warned\n' });
});

test('a program that is not there, or is no program, is an outcome without a status', async () => {
  for (const command of ['no-such-program', fileURLToPath(import.meta.url)])
    expect(await run(command, [])).toEqual({ code: undefined, output: '', errors: '' });
});

test('a program that is killed has failed, and the signal is named', async () => {
  const { code, errors } = await node("process.kill(process.pid, 'SIGKILL')");
  expect(code).toBe(1);
  expect(errors).toMatch(/ was ended by SIGKILL$/);
});

test('variables are added to the environment, not put in its place', async () => {
  const { output } = await node('console.log(process.env.TMPDIR, process.env.PATH)', { env: { TMPDIR: '/own' } });
  expect(output).toBe(`/own ${process.env['PATH']}\n`);
});

test('lines come whole, also where they are written in pieces', async () => {
  const lines: string[] = [];
  const script = "process.stdout.write('1\\n2'); setTimeout(() => process.stdout.write('3\\n45'), 50)";
  const { output } = await node(script, { onLine: (line) => lines.push(line) });
  expect(lines).toEqual(['1', '23']);
  expect(output).toBe('1\n23\n45');
});
