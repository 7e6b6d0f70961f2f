import { expect, test } from 'vitest';
import { aboutOf } from '../src/index.ts';
import { onRanks, step } from './ranks.ts';

test('a checkpoint says which step, updates, layout, settings and text it is of', async () => {
  const [about] = await onRanks({ tp: 2, seed: 7 }, async (rank) => {
    await step(rank, 1);
    return aboutOf(rank, 3, { losses: [2], norms: [1] });
  });
  expect(about).toMatchObject({
    step: 3,
    updates: 1,
    window: { losses: [2], norms: [1] },
    layout: { dp: 1, pp: 1, cp: 1, tp: 2 },
    settings: { seed: 7, model: 'nano' },
    model: { vocabulary: 256 },
  });
  expect(about?.tokens).toBeGreaterThan(1000);
  expect(about).toEqual(JSON.parse(JSON.stringify(about)));
});

test("the window is a copy: a checkpoint isn't changed by the steps after it", async () => {
  await onRanks({}, async (rank) => {
    const window = { losses: [2], norms: [1] };
    const about = aboutOf(rank, 1, window);
    window.losses.push(3);
    expect(about.window?.losses).toEqual([2]);
  });
});
