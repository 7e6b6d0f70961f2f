/** The same in a web page: text from a model that lies in memory. */
export { nextTokenLogits, pickToken, type SampleOptions, sample } from './sample.ts';
