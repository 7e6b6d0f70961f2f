/**
 * The settings of commands that draw tokens.
 */
import { z } from 'zod';
import type { Sampling } from '../sampler.ts';

export const samplingOptions = {
  temperature: z
    .number()
    .min(0)
    .max(100)
    .default(0)
    .describe('0 takes the likeliest token; 1 draws as the model believes; more is wilder')
    .meta({ group: 'Sampling' }),
  topP: z.number().gt(0).max(1).default(1).describe('draws from the likeliest tokens that together have so much'),
  topK: z.int().min(0).default(0).describe('draws from so many of the likeliest tokens; 0: from all'),
  seed: z.int().min(0).default(0).describe('the same seed writes the same text'),
};

export const samplingOf = (config: Pick<Sampling, 'temperature' | 'topP' | 'topK' | 'seed'>): Sampling => ({
  temperature: config.temperature,
  topP: config.topP,
  topK: config.topK,
  seed: config.seed,
  alternatives: 0,
});
