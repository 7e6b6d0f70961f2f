import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { kubernetes } from '../src/index.ts';
import { printed } from './cluster-command.ts';

const root = mkdtempSync(join(tmpdir(), 'fourfold-kubernetes-'));
afterAll(() => rmSync(root, { recursive: true }));

const path = join(root, 'My run.2.json');
beforeAll(() => writeFileSync(path, '{"$schema":"x","model":"nano","dp":8,"tp":2}'));

const image = ['--image', 'fourfold:1'];
const command = (...argv: string[]): Promise<string> => printed(() => kubernetes(argv));

/** The two objects of a manifest, as Kubernetes would read them. */
async function objectsOf(...argv: string[]) {
  const documents = parseAllDocuments(await command(...argv));
  expect(documents.flatMap(({ errors }) => errors)).toEqual([]);
  const [configMap, jobSet, ...more] = documents.map((document) => document.toJS());
  expect(more).toEqual([]);
  return { configMap, jobSet };
}
const podOf = (jobSet: { spec: { replicatedJobs: { template: { spec: { template: { spec: unknown } } } }[] } }) =>
  jobSet.spec.replicatedJobs[0]?.template.spec.template.spec as {
    containers: [{ command: string[]; env: unknown[]; resources: unknown; volumeMounts: unknown[] }];
    volumes: unknown[];
  };

test('a JobSet is one by the schema of its API, with all settings and with none', async () => {
  const schema = JSON.parse(readFileSync(new URL('fixtures/jobset.schema.json', import.meta.url), 'utf8'));
  const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema);
  const all = ['--namespace', 'research', '--cpus', '16', '--memory', '64Gi', '--claim', 'disk', '--maxRestarts', '3'];
  for (const flags of [[], all]) {
    const { jobSet } = await objectsOf(path, ...image, ...flags);
    expect(jobSet).toMatchObject({ apiVersion: 'jobset.x-k8s.io/v1alpha2', kind: 'JobSet' });
    validate(jobSet);
    expect(validate.errors ?? []).toEqual([]);
    // The schema has teeth: a field that the API doesn't have, and a value of another type.
    expect(validate({ ...jobSet, spec: { ...jobSet.spec, restarts: 3 } })).toBe(false);
    expect(validate({ ...jobSet, spec: { ...jobSet.spec, failurePolicy: { maxRestarts: '3' } } })).toBe(false);
  }
});

test('as many pods as nodes, which meet where the first is found, each by its completion index', async () => {
  const { jobSet, configMap } = await objectsOf(path, ...image);
  expect(jobSet.metadata).toEqual({ name: 'my-run-2' });
  expect(configMap).toEqual({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'my-run-2' },
    data: { 'config.json': '{\n  "model": "nano",\n  "dp": 8,\n  "tp": 2\n}\n' },
  });
  const job = jobSet.spec.replicatedJobs[0].template.spec;
  expect(job).toMatchObject({ completionMode: 'Indexed', completions: 2, parallelism: 2, backoffLimit: 0 });
  const [{ command, env, resources }] = podOf(jobSet).containers;
  expect(command.join(' ')).toBe(
    'npx fourfold launch --nproc 8 --nnodes 2 --node-rank $(NODE_RANK) --rendezvous my-run-2-node-0-0.my-run-2:29500 ' +
      'packages/train/src/train.ts --config /config/config.json',
  );
  expect(env).toEqual([
    {
      name: 'NODE_RANK',
      valueFrom: { fieldRef: { fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']" } },
    },
    { name: 'FOURFOLD_SECRET', valueFrom: { secretKeyRef: { name: 'my-run-2', key: 'secret' } } },
  ]);
  expect(resources).toEqual({ limits: { 'nvidia.com/gpu': 8 } });
});

test('GPUs, memory and volumes are as one says', async () => {
  const flags = ['--gpuResource', 'amd.com/gpu', '--memory', '64Gi', '--ranksPerNode', '4', '--claim', 'disk'];
  const pod = podOf((await objectsOf(path, ...image, ...flags)).jobSet);
  expect(pod.containers[0].resources).toEqual({ limits: { 'amd.com/gpu': 4, memory: '64Gi' } });
  expect(pod.volumes).toContainEqual({ name: 'shared-memory', emptyDir: { medium: 'Memory', sizeLimit: '8Gi' } });
  expect(pod.volumes).toContainEqual({ name: 'runs', persistentVolumeClaim: { claimName: 'disk' } });
  const kept = ['--metrics', '/run-folder/metrics.jsonl', '--checkpoints', '/run-folder/checkpoints'];
  expect(pod.containers[0].command.slice(-4)).toEqual(kept);
  expect(pod.containers[0].volumeMounts).toContainEqual({
    ...{ name: 'runs', mountPath: '/run-folder', subPath: 'my-run-2' },
  });
  const onCpu = podOf((await objectsOf(path, ...image, '--no-gpus')).jobSet);
  expect(onCpu.containers[0].resources).toEqual({ limits: {} });
});

test('a run on one node meets on it', async () => {
  const pod = podOf((await objectsOf(path, ...image, '--ranksPerNode', '16')).jobSet);
  expect(pod.containers[0].command.join(' ')).toContain('--nproc 16 --nnodes 1 --node-rank $(NODE_RANK) packages/');
});

test('the secret is told beside, not in the manifest', async () => {
  const text = await command(path, ...image, '--namespace', 'research');
  expect(text).toContain('#   kubectl create secret generic my-run-2 --namespace research --from-literal=secret=');
  expect(text).not.toContain('kind: Secret');
});

test('names that Kubernetes would refuse, and other mistakes, are sentences', async () => {
  for (const name of ['A', '1a', 'a-', 'a.b', 'a_b'])
    await expect(command(path, ...image, '--name', name)).rejects.toThrow(`--name ${name}: use small letters`);
  const most = 63 - 6 - '-node-0-1'.length;
  expect((await objectsOf(path, ...image, '--name', 'a'.repeat(most))).jobSet.metadata.name).toHaveLength(most);
  await expect(command(path, ...image, '--name', 'a'.repeat(most + 1))).rejects.toThrow(`use at most ${most} letters`);
  await expect(command(path)).rejects.toThrow(/^--image is needed: a container image/);
  await expect(command(path, ...image, '--ranksPerNode', '5')).rejects.toThrow(/ranksPerNode=5 does not divide 16/);
  mkdirSync(join(root, '2024'));
  writeFileSync(join(root, '2024', 'config.json'), '{}');
  expect((await objectsOf(join(root, '2024', 'config.json'), ...image)).jobSet.metadata.name).toBe('run-2024');
  await expect(command(path, join(root, '2024'), ...image)).rejects.toThrow(/takes one configuration/);
});
