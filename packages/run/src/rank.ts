/**
 * What one rank of a training run works with: its part of the model, and who does what with it.
 */
import type { DataParallel } from '@fourfold/data-parallel';
import type { Llama } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import type { AdamW } from '@fourfold/optim';
import type { Mesh } from '@fourfold/process-group';
import type { Setup } from '@fourfold/settings';

/** One rank of a training run. */
export interface Rank {
  /** The run's settings, model shape, text and files. */
  readonly setup: Setup;
  /** Its groups. */
  readonly mesh: Mesh;
  /** Its stages of the model. */
  readonly parts: readonly Llama[];
  /** What it trains. */
  readonly parameters: readonly Parameter[];
  /** What averages its gradients. */
  readonly data: DataParallel;
  /** What updates them. */
  readonly optimizer: AdamW;
}
