/** Tensors in files; weights out of the parts that ranks hold; and whole runs, saved and resumed in any layout. */
export { checkNothingLater, type Found, findAt, findNewest } from './find.ts';
export type { FloatDType } from './floats.ts';
export { listCheckpoints } from './folder.ts';
export { gatherWhole, type Places, writeTensors } from './gather.ts';
export { sizeOf } from './header.ts';
export * from './huggingface/export.ts';
export { type Checkpoint, openCheckpoint } from './load.ts';
export type { Manifest } from './manifest.ts';
export { openPretrained } from './pretrained.ts';
export * from './safetensors.ts';
export { type About, rangesOf, type SaveOptions, Saver } from './save.ts';
export { checkWeights, type LlamaShape, type Pretrained, valuesFrom, type Weights } from './weights.ts';
