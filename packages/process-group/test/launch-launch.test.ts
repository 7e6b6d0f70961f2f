import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { launching, start } from './launch-command.ts';

/** What two ranks print in act `env`, by rank, and what is on stderr. */
async function variables(flags: string[], env: Record<string, string>) {
  const { stdout, stderr } = await start(launching(2, 'env --lr 1', flags), env).ended;
  const lines = stdout.trim().split('\n').sort();
  const [first, second] = lines.map((line) => JSON.parse(line.replace(/^\[rank \d\] /, '')) as Record<string, unknown>);
  return { first, second, stderr };
}

test('each rank learns who it is and where the others are', async () => {
  const { first, second, stderr } = await variables([], { CUDA_VISIBLE_DEVICES: '3,5' });
  expect(first).toMatchObject({ RANK: '0', WORLD_SIZE: '2', LOCAL_RANK: '0', CUDA_VISIBLE_DEVICES: '3' });
  expect(second).toMatchObject({ RANK: '1', LOCAL_WORLD_SIZE: '2', LOCAL_RANK: '1', CUDA_VISIBLE_DEVICES: '5' });
  expect(second).toMatchObject({ MASTER_ADDR: '127.0.0.1', TORCHELASTIC_RESTART_COUNT: '0', args: ['--lr', '1'] });
  for (const name of ['MASTER_PORT', 'FOURFOLD_SECRET']) expect(second?.[name]).toBe(first?.[name]);
  expect(stderr).toBe('');
});

test('the second of two nodes has the ranks after those of the first; too few GPUs are a line on stderr', async () => {
  const flags = '--nnodes 2 --node-rank 1 --rendezvous 10.0.0.1:29500 --timeout 5'.split(' ');
  const user = { FOURFOLD_SECRET: 'of all, the same one', OMP_NUM_THREADS: '7', CUDA_VISIBLE_DEVICES: '3' };
  const { first, stderr } = await variables(flags, user);
  expect(first).toMatchObject({ RANK: '2', WORLD_SIZE: '4', GROUP_RANK: '1', MASTER_ADDR: '10.0.0.1', ...user });
  expect(first).toMatchObject({ MASTER_PORT: '29500', FOURFOLD_TIMEOUT: '5' });
  expect(stderr).toBe('2 ranks see the same 1 GPU: --nproc 1 or less gives each rank one of its own\n');
});

test('between nodes, without a secret, nothing is started', async () => {
  const flags = '--nnodes 2 --node-rank 0 --rendezvous 127.0.0.1:29500'.split(' ');
  const { code, stdout, stderr } = await start(launching(2, 'env', flags)).ended;
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^FOURFOLD_SECRET is not set: [^\n]*\n$/);
});

test('TypeScript runs, from any folder', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'launch-'));
  writeFileSync(join(folder, 'rank.ts'), "const who: string = process.env['RANK'] ?? ''; console.log('I am', who);");
  const { code, stdout } = await start(['rank.ts'], {}, folder).ended;
  rmSync(folder, { recursive: true });
  expect({ code, stdout }).toEqual({ code: 0, stdout: '[rank 0] I am 0\n' });
});

test('lines carry the rank, then its place in the mesh', async () => {
  const { stdout } = await start(launching(2, 'place')).ended;
  const ofRank1 = stdout.split('\n').filter((line) => /rank 1|tp1/.test(line));
  expect(ofRank1).toEqual([
    expect.stringMatching(/^\[rank 1\] +before$/),
    '[dp0 tp1] after',
    '[dp0 tp1] last, without an end',
  ]);
  expect(stdout.endsWith('\n')).toBe(true);
});

test('of a megabyte from each of four ranks every line arrives, whole and in order', async () => {
  const { code, stdout } = await start(launching(4, 'flood')).ended;
  expect(code).toBe(0);
  const lines = stdout.trimEnd().split('\n');
  const sent = (rank: number) =>
    Array.from({ length: 16_384 }, (_, i) => `[rank ${rank}] ${rank} ${i} ${'x'.repeat(50)}`);
  expect(lines).toHaveLength(4 * 16_384);
  for (let rank = 0; rank < 4; rank++)
    expect(lines.filter((line) => line.startsWith(`[rank ${rank}]`))).toEqual(sent(rank));
});

test('a rank that throws ends all, with its code and its last words', async () => {
  const { code, stderr } = await start(launching(2, 'throw 1')).ended;
  expect(code).toBe(1);
  expect(stderr).toMatch(/\nrank 1 exited with code 1; its last words:\n( {4}.*\n)+$/);
  expect(stderr).toMatch(/\n {4}Error: this rank can not go on\n$/);
});

test("a killed rank's place and signal are told, and the exit code is 137", async () => {
  const { code, stderr } = await start(launching(3, 'kill 1')).ended;
  expect({ code, stderr }).toEqual({ code: 137, stderr: 'rank 1 [tp1] was killed by SIGKILL\n' });
});
