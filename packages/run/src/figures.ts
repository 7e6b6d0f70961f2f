/** What is said of a step, its speed and memory, and of a validation. */
import { mfuOf, peakFlops } from '@fourfold/metrics';
import { parameterCount } from '@fourfold/model';
import type { ProcessGroup } from '@fourfold/process-group';
import { memory } from '@fourfold/runtime';
import { type Setup, sequencesPerStep } from '@fourfold/settings';

/** What a step that took so long says of speed (all ranks' tokens a second, MFU from 0 to 1) and memory (bytes). */
export function figures({ config, shape, backend }: Setup, world: ProcessGroup, milliseconds: number) {
  const tokensPerSecond = (1000 * sequencesPerStep(config) * config.seqLength) / milliseconds;
  const size = { ...shape, parameters: parameterCount(shape), seqLength: config.seqLength };
  const devices = world.isLocal ? 1 : world.size;
  const mfu = mfuOf(tokensPerSecond / devices, size, peakFlops(backend.description, config.precision));
  return { tokensPerSecond, milliseconds, memoryBytes: memory().peakBytes, mfu };
}

/** From a loss in nats a token, comparable between tokenizers: the bits that the model needs for a byte of the text. */
export const bitsPerByte = (nats: number, { text }: Setup): number =>
  (nats * text.validation.count) / text.validation.bytes / Math.LN2;
