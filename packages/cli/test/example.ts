/** The settings of a made-up command, with one of each kind. */
import { z } from 'zod';

export const schema = z
  .object({
    model: z.enum(['tiny', 'SmolLM-135M']).default('tiny').describe('The shape.').meta({ group: 'Model' }),
    seqLength: z.int().min(1).default(128).describe('Tokens in a sequence.').meta({ group: 'Model' }),
    tp: z.literal(1).default(1).describe('Tensor-parallel ranks.').meta({ group: 'Model' }),
    learningRate: z.number().positive().max(1).default(1e-3).describe('Peak step size.').meta({ group: 'Training' }),
    threads: z
      .union([z.literal('auto'), z.int().min(1).max(64)])
      .default('auto')
      .meta({ group: 'Training', description: 'Threads that compute.' }),
    shuffle: z.boolean().default(true).describe('Whether batches are shuffled.').meta({ group: 'Training' }),
    data: z.array(z.string()).default([]).describe('Text files.').meta({ group: 'Data' }),
    metrics: z.string().optional().describe('A file for the figures of each step.').meta({ group: 'Data' }),
  })
  .superRefine(({ seqLength, model }, context) => {
    if (model === 'tiny' && seqLength > 256) {
      context.addIssue({ code: 'custom', message: `seqLength=${seqLength} is beyond model tiny: use at most 256` });
    }
  });

export const command = { name: 'example', usage: 'Does nothing.', schema };
