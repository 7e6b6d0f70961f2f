/**
 * What one rank of a training run works with: its part of the model, and who does what with it.
 */
import type { DataParallel } from '@fourfold/data-parallel';
import type { Llama } from '@fourfold/model';
import type { Parameter } from '@fourfold/ops';
import type { AdamW } from '@fourfold/optim';
import type { Mesh } from '@fourfold/process-group';
import type { Setup } from '@fourfold/settings';

export interface Rank {
  readonly setup: Setup;
  readonly mesh: Mesh;
  /** Its stages of the model. */
  readonly parts: readonly Llama[];
  readonly parameters: readonly Parameter[];
  readonly data: DataParallel;
  readonly optimizer: AdamW;
}
