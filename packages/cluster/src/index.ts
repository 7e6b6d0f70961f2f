/** Runs on a cluster: Slurm jobs and Kubernetes manifests from configurations, and one table of what came of them. */
export { kubernetes } from './kubernetes/kubernetes.ts';
export { metrics } from './metrics/metrics.ts';
export { slurm } from './slurm/slurm.ts';
