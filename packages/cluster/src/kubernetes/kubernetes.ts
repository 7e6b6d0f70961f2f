/**
 * `npx fourfold kubernetes CONFIG`: prints a manifest that runs a configuration on a Kubernetes cluster with JobSet.
 *
 *     npx fourfold kubernetes configs/micro.json --image registry.example/fourfold:1 > micro.yaml
 *     kubectl apply -f micro.yaml
 */
import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import type { Settings } from '@fourfold/settings';
import { stringify } from 'yaml';
import { z } from 'zod';
import { jobOptions, resourcesOf } from '../slurm/options.ts';
import { CONFIG_FILE, planRuns } from '../slurm/runs.ts';
import { readWords } from '../words.ts';
import { manifest, podName } from './manifest.ts';

const { ranksPerNode, gpus } = jobOptions.shape;
const count = z.int().positive();
const text = z.string().min(1);

// biome-ignore format: a table
export const kubernetesSettings = z.object({
  image: text.describe('a container image with this repository, set up'),
  name: text.optional().describe("of the JobSet; default: the file's"),
  namespace: text.optional().describe("default: kubectl's"),
  folder: text.default('/fourfold').describe('where in the image the repository is'),
  ranksPerNode,
  gpus,
  gpuResource: text.default('nvidia.com/gpu').describe("the cluster's name for a GPU"),
  cpus: count.optional().describe("cores of a pod; default: the cluster's limit"),
  memory: text.optional().describe('memory of a pod, such as 64Gi; likewise'),
  sharedMemory: text.default('8Gi').describe('at most so much in /dev/shm; it counts as memory of the pod'),
  claim: text
    .optional()
    .describe('a PersistentVolumeClaim, to keep metrics.jsonl and checkpoints in a folder of the same name'),
  maxRestarts: z.int().nonnegative().default(0).describe('how often all pods are started again after a failure'),
  grace: count.default(120).describe('seconds in which pods may end when they are asked to'),
});

/** A label of DNS, of 63 letters at most; Kubernetes appends six to the name of a pod. */
const LABEL = /^[a-z]([a-z0-9-]*[a-z0-9])?$/;
const LONGEST = 63 - 6;

/** Runs the command of these words. */
export async function kubernetes(argv: readonly string[]): Promise<void> {
  const usage = 'Prints a JobSet for Kubernetes that trains with this configuration.';
  const name = 'npx fourfold kubernetes';
  const { words, settings } = readWords({ name, words: 'CONFIG', usage, schema: kubernetesSettings, argv });
  const [plan, ...more] = await planRuns(words, '.');
  if (!plan || more.length > 0)
    throw new UserError(`kubernetes takes one configuration, not ${words.join(', ')}: name one file`);
  const resources = resourcesOf(plan.config, jobOptions.parse(settings));
  const jobSet = nameOf(plan.source, settings.name, resources.nodes);
  const { $schema: _, ...config } = JSON.parse(readFileSync(plan.source, 'utf8')) as Partial<Settings> & {
    $schema?: string;
  };
  const objects = manifest({ name: jobSet, config, resources, options: settings });
  console.log(`${head(jobSet, settings.namespace)}${objects.map((one) => stringify(one)).join('---\n')}`.trimEnd());
}

/** The name that is asked for, else the file's in letters that Kubernetes takes. */
function nameOf(source: string, asked: string | undefined, nodes: number): string {
  const file = basename(source) === CONFIG_FILE ? basename(dirname(source)) : basename(source).replace(/\.json$/, '');
  const plain = file
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');
  const name = asked ?? (/^[a-z]/.test(plain) ? plain : `run-${plain}`.replace(/-$/, ''));
  if (!LABEL.test(name))
    throw new UserError(`--name ${name}: use small letters, digits and hyphens, a letter first, no hyphen last`);
  const spare = LONGEST - podName(name, nodes - 1).length;
  if (spare < 0) throw new UserError(`--name ${name} is too long: use at most ${name.length + spare} letters`);
  return name;
}

/** What a manifest shouldn't hold, and has to be there before it. */
function head(name: string, namespace: string | undefined): string {
  const where = namespace ? ` --namespace ${namespace}` : '';
  const command = `kubectl create secret generic ${name}${where} --from-literal=secret="$(openssl rand -hex 32)"`;
  return `# Once, before this:\n#\n#   ${command}\n#\n`;
}
