import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { readSettings } from '../src/launch/settings.ts';
import { child, fourfold } from './launch-command.ts';

const folder = fileURLToPath(new URL('.', import.meta.url));
const read = (words: string) => readSettings(words.split(' ').filter(Boolean));

test('without flags it is one rank, on one node, once', () => {
  expect(readSettings([child])).toEqual({
    nproc: 1,
    nnodes: 1,
    nodeRank: 0,
    rendezvous: undefined,
    maxRestarts: 0,
    grace: 10,
    timeout: undefined,
    script: child,
    args: [],
  });
});

test('every flag is read, with a space or with =', () => {
  const flags =
    '--nproc=4 --nnodes 3 --node-rank 2 --rendezvous 10.0.0.1:29500 --max-restarts 5 --timeout 90 --grace 0.5';
  expect(read(`${flags} ${child}`)).toMatchObject({
    nproc: 4,
    nnodes: 3,
    nodeRank: 2,
    rendezvous: { host: '10.0.0.1', port: 29500 },
    maxRestarts: 5,
    timeout: 90,
    grace: 0.5,
  });
});

test('everything from the script on is the script’s, also what looks like a flag of ours', () => {
  expect(read(`--nproc 2 ${child} --nproc 5 --help -- x`)).toMatchObject({
    nproc: 2,
    args: ['--nproc', '5', '--help', '--', 'x'],
  });
  expect(read(`--nproc 2 -- ${child} --tp 2`)).toMatchObject({ script: child, args: ['--tp', '2'] });
});

test('an IPv6 address is written in brackets', () => {
  expect(read(`--rendezvous [fe80::1]:29500 ${child}`)).toMatchObject({ rendezvous: { host: 'fe80::1', port: 29500 } });
});

test('--help and -h ask for help before anything else is looked at', () => {
  expect(read('--help')).toBe('help');
  expect(read('-h --nproc none')).toBe('help');
});

test.each([
  ['--nproc 0', '--nproc 0: use a whole number from 1 to 1024'],
  ['--nproc 2.5', '--nproc 2.5: use a whole number from 1 to 1024'],
  ['--nproc -1', '--nproc -1: use a whole number from 1 to 1024'],
  ['--nproc two', '--nproc two: use a whole number from 1 to 1024'],
  ['--nproc=', "--nproc '': use a whole number from 1 to 1024"],
  ['--nproc 5000', '--nproc 5000: use a whole number from 1 to 1024'],
  ['--nproc --nnodes 2', '--nproc --nnodes: use a whole number from 1 to 1024'],
  ['--nproc 2 --nproc 3', '--nproc is given twice: give it once'],
  ['--nprocs 2', '--nprocs is not a flag of launch: --help lists those there are'],
  ['-n 2', '-n is not a flag of launch: --help lists those there are'],
  ['--nnodes 2', '--nnodes 2 needs --rendezvous HOST:PORT, an address of machine 0'],
  ['--nnodes 2 --rendezvous a:1', '--nnodes 2 needs --node-rank, from 0 to 1: which of them this machine is'],
  ['--nnodes 2 --rendezvous a:1 --node-rank 2', '--node-rank 2: use a whole number from 0 to 1'],
  ['--node-rank 1', '--node-rank 1: only 0 works here'],
  ['--rendezvous somewhere', '--rendezvous somewhere: use HOST:PORT, with a port from 1 to 65535'],
  ['--rendezvous a:0', '--rendezvous a:0: use HOST:PORT, with a port from 1 to 65535'],
  ['--rendezvous a:70000', '--rendezvous a:70000: use HOST:PORT, with a port from 1 to 65535'],
  ['--rendezvous ::1:80', '--rendezvous ::1:80: use HOST:PORT, with a port from 1 to 65535'],
  ['--max-restarts -1', '--max-restarts -1: use a whole number from 0 to 1000'],
  ['--grace soon', '--grace soon: use a number of seconds, up to 86400'],
  ['--timeout 1e9', '--timeout 1e9: use a number of seconds, up to 86400'],
])('%s is a mistake, told in a sentence', (flags, sentence) => {
  expect(() => read(`${flags} ${child}`)).toThrow(new UserError(sentence));
});

test.each([
  ['', 'there is no script to launch: use npx fourfold launch --nproc 4 script.ts'],
  ['--nproc', "--nproc '': use a whole number from 1 to 1024"],
  ['nowhere.ts', 'nowhere.ts is not there to launch: name a file of TypeScript or JavaScript'],
  [folder, `${folder} is not there to launch: name a file of TypeScript or JavaScript`],
])('without a script to start (%s) there is a sentence', (words, sentence) => {
  expect(() => read(words)).toThrow(new UserError(sentence));
});

test('the command prints help, and a mistake as one line with exit code 2', async () => {
  const [help, mistake] = await Promise.all([fourfold('--help'), fourfold('--nproc', '0', child)]);
  expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('--max-restarts N ') });
  expect(mistake).toMatchObject({ code: 2, stdout: '', stderr: '--nproc 0: use a whole number from 1 to 1024\n' });
});
