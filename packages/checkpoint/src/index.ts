/** Weights in files, and out of the parts that ranks hold. */
export { gatherWhole, type Places, writeTensors } from './gather.ts';
export * from './safetensors.ts';
