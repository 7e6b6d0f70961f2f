/** The same in a web page: whole tensors out of the parts that ranks hold. Files need a disk. */
export type { Found } from './find.ts';
export { gatherWhole, type Places } from './gather.ts';
export type { Saver } from './save.ts';
