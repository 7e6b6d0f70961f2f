/** Text from a model, token by token. */
export { nextTokenLogits, pickToken, type SampleOptions, sample } from './sample.ts';
