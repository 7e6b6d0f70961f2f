/** Weights in files, and out of the parts that ranks hold. */
export { gatherWhole, type Places, writeTensors } from './gather.ts';
export * from './huggingface/export.ts';
export { openPretrained } from './pretrained.ts';
export * from './safetensors.ts';
export { checkWeights, type LlamaShape, type Pretrained, valuesFrom, type Weights } from './weights.ts';
