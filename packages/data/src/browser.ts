/** The same in a web page: batches, and bytes for a tokenizer. Files of text and of tokens need a disk. */
export * from './batches.ts';
export { bytes as byteTokenizer } from './byte-tokenizer.ts';
export type { Tokenizer } from './tokenizers.ts';
export type { TokenizedText, Tokens } from './tokens.ts';
