import { expect, test } from 'vitest';
import { kubernetesSettings } from '../src/kubernetes/kubernetes.ts';
import { manifest, podName } from '../src/kubernetes/manifest.ts';

test('a pod is called as JobSet calls it: the set, the job, the job of its replicas, the pod', () => {
  expect(podName('micro', 3)).toBe('micro-node-0-3');
});

test('the configuration is in the manifest as its file has it', () => {
  const resources = { nodes: 1, ranks: 1, ranksPerNode: 1, gpusPerNode: 0 };
  const options = kubernetesSettings.parse({ image: 'x' });
  const config = { prompt: `it's "quoted"\n---\nkind: Pod` };
  const [configMap] = manifest({ name: 'micro', config, resources, options }) as [{ data: Record<string, string> }];
  expect(JSON.parse(configMap.data['config.json'] ?? '')).toEqual(config);
});
