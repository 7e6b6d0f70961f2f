/**
 * PyTorch's own data parallelism, DistributedDataParallel started by torchrun, on the work of one of our dp layouts.
 */
import { fileURLToPath } from 'node:url';
import type { LlamaConfig } from '@fourfold/model';
import { type Settings, sequencesPerStep } from '@fourfold/settings';
import type { Found } from './rank-steps.ts';
import { runJson } from './run-json.ts';

export interface TorchRun {
  readonly compile: boolean;
  readonly warmup: number;
  readonly steps: number;
  /** A Python that can import torch. */
  readonly python: string;
}

/** Whether a layout's ranks are data-parallel ones alone, which is what DDP does. */
export const isDataParallel = ({ dp, pp, cp, tp, zero }: Settings): boolean => dp > 1 && pp * cp * tp === 1 && !zero;

/** Trains as many ranks, each with the same batch as ours, and returns what rank 0 says: the slowest rank's times. */
export async function torchRanks(config: Settings, shape: LlamaConfig, run: TorchRun): Promise<Found> {
  const { dp, seqLength: seq } = config;
  const { python, ...how } = run;
  const task = { ...shape, batch: sequencesPerStep(config) / dp, seq, recompute: config.recompute === 'block', ...how };
  const script = fileURLToPath(new URL('torch_gpu.py', import.meta.url));
  const torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', `${dp}`];
  const { version, device, milliseconds, peakBytes, loss } = await runJson(python, [
    ...torchrun,
    script,
    JSON.stringify(task),
  ]);
  const ranks = [{ label: 'the slowest', milliseconds, peakBytes }];
  return { version: `PyTorch ${version}`, device, ranks, losses: [loss], gradNorms: [], gpuTimes: [] };
}
