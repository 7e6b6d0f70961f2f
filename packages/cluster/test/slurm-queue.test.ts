/** What Slurm 22.05 printed of jobs on the cluster of slurm-cluster.ts, with accounting. */
import { expect, test } from 'vitest';
import { corrected, readAccounts, readQueue } from '../src/slurm/queue.ts';
import { statusOf } from '../src/slurm/state.ts';

const SQUEUE = `1|COMPLETED|None
5_2|PENDING|JobArrayTaskLimit
5_0|RUNNING|None
12|CANCELLED|None
6|CANCELLED|JobHeldUser
10|FAILED|NonZeroExitCode
14|FAILED|BadConstraints
7|PENDING|DependencyNeverSatisfied
11|TIMEOUT|TimeLimit
`;

/** 4 was killed by Slurm and 10 by the kernel for their memory, 11 at its time limit, 6 was cancelled in the queue. */
const SACCT = `1|COMPLETED
1.batch|COMPLETED
1.0|COMPLETED
2|FAILED
2.batch|FAILED
2.0|FAILED
4|FAILED
4.batch|FAILED
4.0|CANCELLED by 0
5_0|COMPLETED
5_0.batch|COMPLETED
6|CANCELLED by 0
10|FAILED
10.batch|FAILED
10.0|OUT_OF_MEMORY
11|TIMEOUT
11.batch|CANCELLED
11.0|CANCELLED
19|RUNNING
19.batch|RUNNING
19.0|RUNNING
`;

const states = (words: ReadonlyMap<string, { state: string }>) =>
  Object.fromEntries([...words].map(([job, { state }]) => [job, state]));

test('squeue: states in our words; what waits says why', () => {
  const words = readQueue(SQUEUE);
  expect(states(words)).toEqual({
    ...{ '1': 'completed', '5_2': 'pending', '5_0': 'running', '12': 'fail', '6': 'fail', '10': 'fail', '14': 'fail' },
    ...{ '7': 'pending', '11': 'timeout' },
  });
  expect(words.get('7')?.reason).toBe('DependencyNeverSatisfied');
  expect(words.get('12')?.reason).toBe('CANCELLED');
  expect(readQueue('').size).toBe(0);
});

test('sacct: a step that ran out of memory says so of its job', () => {
  expect(states(readAccounts(SACCT))).toEqual({
    ...{ '1': 'completed', '2': 'fail', '4': 'fail', '5_0': 'completed', '6': 'fail', '10': 'oom', '11': 'timeout' },
    '19': 'running',
  });
  expect(readAccounts(SACCT).get('6')?.reason).toBe('CANCELLED');
});

test('a completed job stays so, whatever one of its steps used', () => {
  expect(states(readAccounts('3|COMPLETED\n3.0|OUT_OF_MEMORY\n'))).toEqual({ '3': 'completed' });
});

const word = (state: string, reason = 'None') => readQueue(`12|${state}|${reason}\n`).get('12');

test('Slurm corrects a job that could not say its last word', () => {
  for (const said of [statusOf('running', '12'), statusOf('pending', '12')]) {
    expect(corrected(said, word('OUT_OF_MEMORY'))).toMatchObject({ state: 'oom', job: '12', detail: 'out of memory' });
    expect(corrected(said, word('TIMEOUT'))).toMatchObject({ state: 'timeout', detail: 'the time limit' });
    expect(corrected(said, word('NODE_FAIL'))).toMatchObject({ state: 'fail', detail: 'its node failed' });
    expect(corrected(said, word('CANCELLED'))).toMatchObject({ state: 'fail', detail: 'cancelled' });
    expect(corrected(said, word('COMPLETED'))).toMatchObject({ state: 'completed', detail: '' });
    expect(corrected(said, undefined)).toMatchObject({ state: 'fail', detail: 'Slurm knows job 12 no more' });
  }
});

test('how a job ended, it knows best itself; but a kill for memory or time, Slurm', () => {
  const said = statusOf('fail', '12', 'exit code 1');
  for (const state of ['FAILED', 'COMPLETED', 'COMPLETING', 'RUNNING', 'CANCELLED', 'NODE_FAIL'])
    expect(corrected(said, word(state))).toBe(said);
  expect(corrected(said, undefined)).toBe(said);
  expect(corrected(said, word('OUT_OF_MEMORY'))).toMatchObject({ state: 'oom' });
  expect(corrected(said, word('TIMEOUT'))).toMatchObject({ state: 'timeout' });
  const completed = statusOf('completed', '12');
  for (const state of ['OUT_OF_MEMORY', 'FAILED', 'TIMEOUT']) expect(corrected(completed, word(state))).toBe(completed);
  const timeout = statusOf('timeout', '12', 'the time limit');
  expect(corrected(timeout, word('FAILED'))).toBe(timeout);
});

test('a job that waits says why, and one that was put back into the queue waits again', () => {
  expect(corrected(statusOf('pending', '12'), word('PENDING', 'Priority')).detail).toBe('Priority');
  expect(corrected(statusOf('running', '12'), word('PENDING', 'BeginTime'))).toMatchObject({ state: 'pending' });
  expect(corrected(statusOf('fail', '12'), word('PENDING', 'BeginTime'))).toMatchObject({ state: 'pending' });
  expect(corrected(statusOf('pending', '12'), word('RUNNING'))).toMatchObject({ state: 'running', detail: '' });
});
