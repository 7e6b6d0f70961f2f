import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { firstHost, placeOf } from '../src/tcp/rendezvous.ts';

const SECRET = 'sixteen letters!';
const TORCHRUN = {
  RANK: '5',
  WORLD_SIZE: '8',
  LOCAL_RANK: '1',
  LOCAL_WORLD_SIZE: '4',
  MASTER_ADDR: 'node1',
  MASTER_PORT: '29511',
  TORCHELASTIC_RESTART_COUNT: '2',
  FOURFOLD_SECRET: SECRET,
};
const OPEN_MPI = {
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '4',
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '4',
};
const SLURM = {
  SLURM_PROCID: '9',
  SLURM_NTASKS: '16',
  SLURM_STEP_NUM_TASKS: '16',
  SLURM_LOCALID: '1',
  SLURM_STEP_NODELIST: 'node[003-007,9],other',
  SLURM_NNODES: '6',
  SLURM_JOB_ID: '123456',
  SLURM_STEP_ID: '0',
  FOURFOLD_SECRET: SECRET,
};

test("torchrun's variables say all", () => {
  expect(placeOf(TORCHRUN)).toEqual({
    rank: 5,
    worldSize: 8,
    localRank: 1,
    host: 'node1',
    port: 29511,
    attempt: 2,
    secret: SECRET,
    from: "torchrun's variables",
  });
});

test('a rank and a number of ranks are enough on one machine', () => {
  expect(placeOf({ RANK: '1', WORLD_SIZE: '4' })).toEqual({
    rank: 1,
    worldSize: 4,
    localRank: 1,
    host: '127.0.0.1',
    port: 29500,
    attempt: 0,
    secret: '',
    from: "torchrun's variables",
  });
});

test('without LOCAL_RANK: the machines are filled one after the other, or have one rank each', () => {
  const several = { RANK: '5', WORLD_SIZE: '8', MASTER_ADDR: 'node1', FOURFOLD_SECRET: SECRET };
  expect(placeOf({ ...several, LOCAL_WORLD_SIZE: '4' })?.localRank).toBe(1);
  expect(placeOf(several)?.localRank).toBe(0);
  expect(placeOf({ ...several, MASTER_ADDR: 'localhost' })?.localRank).toBe(5);
});

test('a process that is told of no others is alone', () => {
  const alone = [
    {},
    { MASTER_ADDR: 'node1', LOCAL_RANK: '0', RANK: '', WORLD_SIZE: '' },
    { RANK: '0', WORLD_SIZE: '1' },
    { OMPI_COMM_WORLD_RANK: '0', OMPI_COMM_WORLD_SIZE: '1' },
    { SLURM_JOB_ID: '7', SLURM_NTASKS: '4' }, // salloc's shell
    { SLURM_PROCID: '0', SLURM_NTASKS: '1' },
    { SLURM_PROCID: '0' }, // a batch script without --ntasks
    { SLURM_PROCID: '0', SLURM_NTASKS: '4', ENVIRONMENT: 'BATCH' }, // one with it: srun would start 4, nobody has
    { SLURM_PROCID: '0', SLURM_NTASKS: '4', SLURM_STEP_NUM_TASKS: '1' }, // an interactive shell within a job of 4
  ];
  for (const env of alone) expect(placeOf(env)).toBeUndefined();
});

test('Open MPI on one machine meets there; on several, where MASTER_ADDR says', () => {
  const place = { rank: 1, worldSize: 4, localRank: 1, host: '127.0.0.1', port: 29500, attempt: 0, secret: '' };
  expect(placeOf(OPEN_MPI)).toEqual({ ...place, from: 'Open MPI' });
  const several = { ...OPEN_MPI, OMPI_COMM_WORLD_LOCAL_SIZE: '2', FOURFOLD_SECRET: SECRET };
  expect(() => placeOf(several)).toThrow(
    "MASTER_ADDR is missing: Open MPI put 2 of 4 ranks here, so it must name rank 0's host",
  );
  expect(placeOf({ ...several, MASTER_ADDR: '10.0.0.1' })?.host).toBe('10.0.0.1');
});

test("ports come from the job's number: the same for all ranks, others for other jobs", () => {
  const jobs = Array.from({ length: 500 }, (_, i) => 40_000 + i);
  const mpiPorts = jobs.map((job) => placeOf({ ...OPEN_MPI, OMPI_MCA_ess_base_jobid: String(job * 65536 + 1) })?.port);
  const slurmPorts = jobs.map((job) => placeOf({ ...SLURM, SLURM_JOB_ID: String(job) })?.port);
  for (const ports of [mpiPorts, slurmPorts]) {
    expect(new Set(ports).size).toBe(jobs.length);
    expect(Math.min(...(ports as number[]))).toBeGreaterThanOrEqual(20000);
    expect(Math.max(...(ports as number[]))).toBeLessThan(30000);
  }
  expect(placeOf({ ...SLURM, SLURM_PROCID: '0' })?.port).toBe(placeOf(SLURM)?.port);
  expect(placeOf({ ...SLURM, SLURM_STEP_ID: '1' })?.port).not.toBe(placeOf(SLURM)?.port);
  expect(placeOf({ ...SLURM, MASTER_PORT: '4444' })?.port).toBe(4444);
});

test("what Slurm's srun starts meets on the first node of its list", () => {
  const port = 20000 + ((13 * 123456) % 9973);
  const place = { rank: 9, worldSize: 16, localRank: 1, host: 'node003', port, attempt: 0, secret: SECRET };
  expect(placeOf(SLURM)).toEqual({ ...place, from: 'Slurm' });
  expect(placeOf({ ...SLURM, MASTER_ADDR: 'node9' })?.host).toBe('node9');
  expect(placeOf({ ...SLURM, SLURM_RESTART_COUNT: '3' })?.attempt).toBe(3);
  const { SLURM_STEP_NODELIST, ...without } = SLURM;
  expect(placeOf({ ...without, SLURM_NODELIST: 'a7,b8' })?.host).toBe('a7');
  expect(placeOf({ ...without, SLURM_LAUNCH_NODE_IPADDR: '10.1.1.1' })?.host).toBe('10.1.1.1');
  const oneNode = { ...SLURM, SLURM_NNODES: '1', FOURFOLD_SECRET: undefined };
  expect(placeOf(oneNode)).toMatchObject({ host: '127.0.0.1', secret: '' });
  expect(placeOf({ ...SLURM, ENVIRONMENT: 'BATCH' })?.rank).toBe(9); // srun's ranks inherit it from the batch script
});

test.each([
  ['node[003-007,9],other', 'node003'],
  ['node7', 'node7'],
  ['a7,b[1-2]', 'a7'],
  ['gpu-[12,14-15]-ib', 'gpu-12-ib'],
  ['rack[0-1]node[08-12],x', 'rack0node08'],
  ['', undefined],
])('the first host of %s is %s', (nodes, host) => expect(firstHost(nodes)).toBe(host));

test('Open MPI within a Slurm job comes before Slurm, and torchrun before both', () => {
  expect(placeOf({ ...SLURM, ...OPEN_MPI, MASTER_ADDR: 'x' })?.from).toBe('Open MPI');
  expect(placeOf({ ...SLURM, ...OPEN_MPI, ...TORCHRUN })?.from).toBe("torchrun's variables");
});

test.each([
  [{ ...TORCHRUN, RANK: '8' }, 'RANK=8 is out of range for WORLD_SIZE=8: use 0 to 7'],
  [{ RANK: '1' }, 'RANK=1 is given without WORLD_SIZE: set both'],
  [{ WORLD_SIZE: '4' }, 'WORLD_SIZE=4 is given without RANK: set both'],
  [{ ...TORCHRUN, WORLD_SIZE: 'abc' }, 'WORLD_SIZE=abc is not a whole number from 1 to 65536'],
  [{ ...TORCHRUN, WORLD_SIZE: '0' }, 'WORLD_SIZE=0 is not a whole number from 1 to 65536'],
  [{ ...TORCHRUN, RANK: '-1' }, 'RANK=-1 is not a whole number from 0 to 65535'],
  [{ ...TORCHRUN, RANK: '1e1' }, 'RANK=1e1 is not a whole number from 0 to 65535'],
  [{ ...TORCHRUN, LOCAL_RANK: '4' }, 'LOCAL_RANK=4 is not a whole number from 0 to 3'],
  [{ ...TORCHRUN, LOCAL_WORLD_SIZE: '9' }, 'LOCAL_WORLD_SIZE=9 is not a whole number from 1 to 8'],
  [{ ...TORCHRUN, MASTER_PORT: '0' }, 'MASTER_PORT=0 is not a whole number from 1 to 65535'],
  [{ ...TORCHRUN, MASTER_PORT: '65536' }, 'MASTER_PORT=65536 is not a whole number from 1 to 65535'],
  [{ ...TORCHRUN, MASTER_ADDR: 'tcp://x' }, "MASTER_ADDR=tcp://x is neither a host's name nor an address"],
  [{ ...TORCHRUN, MASTER_ADDR: '' }, "torchrun's variables put 4 of 8 ranks here"],
  [{ ...TORCHRUN, FOURFOLD_SECRET: undefined }, 'FOURFOLD_SECRET is missing, and node1 is reached over a network'],
  [{ ...TORCHRUN, FOURFOLD_SECRET: 'short' }, 'FOURFOLD_SECRET is too short: it must have at least 16 characters'],
  [{ ...OPEN_MPI, OMPI_COMM_WORLD_SIZE: undefined }, 'OMPI_COMM_WORLD_RANK=1 is given without OMPI_COMM_WORLD_SIZE'],
  [{ ...SLURM, SLURM_PROCID: '16' }, 'SLURM_PROCID=16 is out of range for SLURM_STEP_NUM_TASKS=16: use 0 to 15'],
])('%o: %s', (env, sentence) => {
  expect(() => placeOf(env)).toThrow(UserError);
  expect(() => placeOf(env)).toThrow(sentence);
});
