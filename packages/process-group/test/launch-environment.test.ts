import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { arrangeMeeting, environmentOf, sharedGpus } from '../src/launch/environment.ts';
import { readSettings, type Settings } from '../src/launch/settings.ts';
import { child } from './launch-command.ts';

const settingsOf = (words: string): Settings => readSettings([...words.split(' ').filter(Boolean), child]) as Settings;
const between = settingsOf('--nproc 2 --nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500');
const meeting = { host: '10.0.0.1', port: 29500, secret: 'a secret of the two' };

test("the second rank of the second node learns its place among the four, and the user's variables stay", () => {
  const machine = { gpus: ['4', '6'], cores: 8 };
  expect(environmentOf(1, between, meeting, 2, { HOME: '/home/ada' }, machine)).toEqual({
    HOME: '/home/ada',
    RANK: '3',
    WORLD_SIZE: '4',
    LOCAL_RANK: '1',
    LOCAL_WORLD_SIZE: '2',
    GROUP_RANK: '1',
    MASTER_ADDR: '10.0.0.1',
    MASTER_PORT: '29500',
    FOURFOLD_SECRET: 'a secret of the two',
    TORCHELASTIC_RESTART_COUNT: '2',
    OMP_NUM_THREADS: '4',
    CUDA_VISIBLE_DEVICES: '6',
  });
});

test('OMP_NUM_THREADS of the user stays; RANK of an outer launcher does not', () => {
  const env = environmentOf(0, between, meeting, 0, { OMP_NUM_THREADS: '3', RANK: '9' }, { gpus: [], cores: 8 });
  expect(env).toMatchObject({ OMP_NUM_THREADS: '3', RANK: '2' });
});

test('with more ranks than GPUs the variable stays as it is, and that is said', () => {
  const user = { CUDA_VISIBLE_DEVICES: '5' };
  expect(environmentOf(1, between, meeting, 0, user, { gpus: ['5'], cores: 8 })).toMatchObject(user);
  expect(environmentOf(1, between, meeting, 0, {}, { gpus: ['0'], cores: 8 })).not.toHaveProperty(
    'CUDA_VISIBLE_DEVICES',
  );
  expect(sharedGpus(4, ['0', '1'])).toBe(
    '4 ranks see the same 2 GPUs: --nproc 2 or less gives each rank one of its own',
  );
  expect(sharedGpus(2, ['5'])).toBe('2 ranks see the same 1 GPU: --nproc 1 or less gives each rank one of its own');
  expect(sharedGpus(2, ['0', '1'])).toBeUndefined();
  expect(sharedGpus(2, [])).toBeUndefined();
});

test('a time-out is handed on when it is given', () => {
  const env = environmentOf(0, settingsOf('--timeout 30'), meeting, 0, {}, { gpus: [], cores: 1 });
  expect(env).toMatchObject({ FOURFOLD_TIMEOUT: '30' });
});

test('on one node, each attempt has a port and a secret of its own', async () => {
  const [a, b] = [await arrangeMeeting(settingsOf(''), {}), await arrangeMeeting(settingsOf(''), {})];
  expect(a.host).toBe('127.0.0.1');
  expect(a.secret).toMatch(/^[0-9a-f]{64}$/);
  expect(b.secret).not.toBe(a.secret);
  expect(b.port).not.toBe(a.port);
});

test('a rendezvous that is given is kept on one node too', async () => {
  const { host, port } = await arrangeMeeting(settingsOf('--rendezvous localhost:4000'), {});
  expect({ host, port }).toEqual({ host: 'localhost', port: 4000 });
});

test("between nodes the secret is the user's, and must be a good one", async () => {
  expect(await arrangeMeeting(between, { FOURFOLD_SECRET: meeting.secret })).toEqual(meeting);
  await expect(arrangeMeeting(between, {})).rejects.toThrow(
    new UserError(
      'FOURFOLD_SECRET is not set: between nodes, set it to the same text of 16 characters or more on each',
    ),
  );
  await expect(arrangeMeeting(between, { FOURFOLD_SECRET: 'hush' })).rejects.toThrow(
    'FOURFOLD_SECRET has 4 characters',
  );
});
