/** The closed form against the model that a run makes, on paper. */
import { parameterCount } from '@fourfold/model';
import { coordinatesOf, rankCount } from '@fourfold/process-group';
import { expect, test } from 'vitest';
import { modelParameters, partsOf } from '../src/stages.ts';
import { rankOnPaper } from '../src/traffic.ts';
import { jobOf } from './jobs.ts';

const interleaved = { ppEngine: 'interleaved', ppChunks: 2 };

test.each([
  {},
  { tied: false },
  { tp: 4, kvHeads: 2 },
  { tp: 2, pp: 3, layers: 7, tied: false },
  { pp: 2, layers: 8, ppBalance: 'cost', vocabulary: 4000 },
  { pp: 2, layers: 6, ...interleaved },
  { pp: 3, tp: 2, layers: 8, tied: false, ...interleaved },
])('blocks, ends and parameters of every rank: %j', async (change) => {
  const job = jobOf(change);
  const parts = partsOf(job);
  for (let rank = 0; rank < rankCount(job.config); rank++) {
    const place = coordinatesOf(rank, job.config);
    const paper = await rankOnPaper(job, place);
    const { stages, parameters } = parts[place.pp] as (typeof parts)[number];
    expect(stages).toEqual(
      paper.parts.map(({ blocks, embed, loss }) => ({
        blocks: blocks.length,
        hasEmbedding: embed !== undefined,
        hasHead: loss !== undefined,
      })),
    );
    const sizes = paper.parts.flatMap((part) => part.parameters.map(({ shape }) => shape.reduce((a, b) => a * b, 1)));
    expect(parameters).toBe(sizes.reduce((a, b) => a + b, 0));
  }
});

test.each(['nano', 'SmolLM-1.7B', 'Llama-2-7B', 'Llama-3-8B'])('the parameters of all of %s', (model) => {
  const job = jobOf({ model });
  expect(modelParameters(job)).toBe(parameterCount(job.shape));
});
