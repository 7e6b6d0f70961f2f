/**
 * A run as Kubernetes takes it: a JobSet (https://jobset.sigs.k8s.io), and its configuration as a ConfigMap.
 *
 *     JobSet micro
 *       Job micro-node-0         as many pods as nodes, each with its number (its completion index)
 *         Pod micro-node-0-0     fourfold launch --nproc 8 --node-rank 0 --rendezvous micro-node-0-0.micro:29500 ...
 *         Pod micro-node-0-1     fourfold launch --nproc 8 --node-rank 1 --rendezvous micro-node-0-0.micro:29500 ...
 *
 * A JobSet makes a headless service of its name, so that every pod has a name in DNS: the first one's is where the
 * ranks meet. If a pod fails, all are started again, up to maxRestarts times: ranks can't do without each other. That
 * they belong together they prove by a Secret, which is not written here: manifests are kept where many can read them.
 */
import type { Settings } from '@fourfold/settings';
import type { z } from 'zod';
import type { Resources } from '../slurm/options.ts';
import type { kubernetesSettings } from './kubernetes.ts';

export interface ManifestRequest {
  /** The JobSet's name. */
  readonly name: string;
  /** As the file has it, without defaults. */
  readonly config: Readonly<Partial<Settings>>;
  readonly resources: Resources;
  readonly options: Readonly<z.infer<typeof kubernetesSettings>>;
}

const NODE = 'node';
const PORT = 29500;

/** The name of a pod, of which the last is the longest; its containers' host has it too. */
export const podName = (name: string, node: number): string => `${name}-${NODE}-0-${node}`;

/** The two objects, to be written one below the other. */
export const manifest = (request: ManifestRequest): object[] => [configMap(request), jobSet(request)];

const configMap = ({ name, config, options }: ManifestRequest): object => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: metadata(name, options.namespace),
  data: { 'config.json': `${JSON.stringify(config, null, 2)}\n` },
});

const metadata = (name: string, namespace: string | undefined): object => ({ name, ...(namespace && { namespace }) });

function jobSet(request: ManifestRequest): object {
  const { name, resources, options } = request;
  const { nodes } = resources;
  return {
    apiVersion: 'jobset.x-k8s.io/v1alpha2',
    kind: 'JobSet',
    metadata: metadata(name, options.namespace),
    spec: {
      // The pods' names are told before they are ready: none is until it has met the others.
      network: { enableDNSHostnames: true, publishNotReadyAddresses: true },
      failurePolicy: { maxRestarts: options.maxRestarts },
      replicatedJobs: [
        {
          name: NODE,
          replicas: 1,
          template: {
            spec: {
              completionMode: 'Indexed',
              completions: nodes,
              parallelism: nodes,
              backoffLimit: 0, // one pod alone is not started again
              template: { spec: podSpec(request) },
            },
          },
        },
      ],
    },
  };
}

function podSpec({ name, resources, options }: ManifestRequest): object {
  const { gpusPerNode } = resources;
  const { image, folder, claim, memory, cpus, sharedMemory, gpuResource, grace } = options;
  const limits = {
    ...(gpusPerNode > 0 && { [gpuResource]: gpusPerNode }),
    ...(memory && { memory }),
    ...(cpus && { cpu: cpus }),
  };
  const mounts = [
    { name: 'config', mountPath: '/config', readOnly: true },
    { name: 'shared-memory', mountPath: '/dev/shm' },
    ...(claim ? [{ name: 'runs', mountPath: '/run-folder', subPath: name }] : []),
  ];
  return {
    restartPolicy: 'Never',
    terminationGracePeriodSeconds: grace,
    containers: [
      {
        name: NODE,
        image,
        workingDir: folder,
        command: command(name, resources, claim),
        env: environment(name),
        resources: { limits },
        volumeMounts: mounts,
      },
    ],
    volumes: [
      { name: 'config', configMap: { name } },
      // NCCL's ranks talk through it on one node; a container has 64 MB otherwise.
      { name: 'shared-memory', emptyDir: { medium: 'Memory', sizeLimit: sharedMemory } },
      ...(claim ? [{ name: 'runs', persistentVolumeClaim: { claimName: claim } }] : []),
    ],
  };
}

/** Kubernetes puts the variable's value in the place of $(NODE_RANK). */
const command = (name: string, { nodes, ranksPerNode }: Resources, claim: string | undefined): string[] => [
  ...['npx', 'fourfold', 'launch', '--nproc', String(ranksPerNode)],
  ...['--nnodes', String(nodes), '--node-rank', '$(NODE_RANK)'],
  ...(nodes > 1 ? ['--rendezvous', `${podName(name, 0)}.${name}:${PORT}`] : []),
  ...['packages/train/src/train.ts', '--config', '/config/config.json'],
  ...(claim ? ['--metrics', '/run-folder/metrics.jsonl', '--checkpoints', '/run-folder/checkpoints'] : []),
];

const environment = (name: string): object[] => [
  {
    name: 'NODE_RANK',
    valueFrom: { fieldRef: { fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']" } },
  },
  { name: 'FOURFOLD_SECRET', valueFrom: { secretKeyRef: { name, key: 'secret' } } },
];
