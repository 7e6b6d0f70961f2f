/** Tensors in files; weights out of the parts that ranks hold; and whole runs, saved and resumed in any layout. */

export { readJson, show } from './files.ts';
export { checkNothingLater, type Found, findAt, findNewest } from './find.ts';
export { FLOATS, type FloatDType, type Floats, fromFloat32, toFloat32 } from './floats.ts';
export { listCheckpoints } from './folder.ts';
export { gatherWhole, type Places } from './gather.ts';
export { architectureOf, endsIn, GGUF_NAMES, type Lists, settingsAsConfig } from './gguf/config.ts';
export { type BlockFormat, dequantize as dequantizeBlocks, type Unpack } from './gguf/dequantize.ts';
export { type GgufFile, type GgufTensor, openGguf } from './gguf/file.ts';
export { tokenizerFilesFrom } from './gguf/tokenizer.ts';
export { ARRAYS, sizeOf } from './header.ts';
export { type ConfigNotes, configFrom, endsFrom, type Json, shapeFrom } from './huggingface/config.ts';
export * from './huggingface/export.ts';
export { endsOf, type FolderTensors, openTensors, settingsOf, tokenizerFilesOf } from './huggingface/folder.ts';
export { type Checkpoint, openCheckpoint } from './load.ts';
export type { Manifest } from './manifest.ts';
export { openPretrained, placeOf } from './pretrained.ts';
export * from './safetensors.ts';
export { type About, type SaveOptions, Saver } from './save.ts';
export { type MadeTensor, openSlices, type SlicedFile, writeInTurn } from './slices.ts';
export {
  checkWeights,
  type LlamaShape,
  type Pretrained,
  type TextEnds,
  valuesFrom,
  type WeightInfo,
  type Weights,
} from './weights.ts';
export { writeTensors } from './write-tensors.ts';
