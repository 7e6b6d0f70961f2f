/** Texts, tokenizers, and batches that depend on seed and step alone. */
export * from './batches.ts';
export { bytes as byteTokenizer } from './byte-tokenizer.ts';
export { type Corpus, openCorpus, TEXT_PACKAGES, type TextFile, type TextPackage } from './corpora.ts';
export { tokenizerJson } from './tokenizer-json.ts';
export { openTokenizer, type Tokenizer, tokenizerFrom } from './tokenizers.ts';
export { checkVocabulary, openTokens, type TokenizedText, type TokenizeOptions, type Tokens } from './tokens.ts';
