import { expect, test } from 'vitest';
import { runJson } from '../src/run-json.ts';

const node = (script: string, input?: string) => runJson(process.execPath, ['-e', script], input);

test('what a program prints last is its answer; what it is to do comes in by stdin', async () => {
  const script = `process.stdin.on('data', (text) => { console.log('a word'); console.log('{"loss":' + text + '}') })`;
  expect(await node(script, '2')).toEqual({ loss: 2 });
});

test('exit code 2 is the user’s mistake, any other the program’s', async () => {
  await expect(node(`console.error('use another'); process.exitCode = 2`)).rejects.toMatchObject({
    name: 'UserError',
    message: 'use another',
  });
  await expect(node(`console.error('broken'); process.exitCode = 1`)).rejects.toThrow(/failed: broken/);
  await expect(runJson('/no/such/program', [])).rejects.toThrow('ENOENT');
});
