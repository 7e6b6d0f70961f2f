/** What a checkpoint says of its run. */
import type { About } from '@fourfold/checkpoint';
import type { Window } from '@fourfold/optim';
import type { Rank } from './rank.ts';

/** After so many steps. `window`: what was seen of losses and gradients, to tell outliers by. */
export function aboutOf({ setup, optimizer }: Rank, step: number, window: Window | undefined): About {
  const { config, shape, text } = setup;
  const settings = JSON.parse(JSON.stringify(config)) as About['settings']; // as JSON has it: what is undefined is gone
  const { dp, pp, cp, tp } = config;
  const copy = window && { losses: [...window.losses], norms: [...window.norms] };
  const model = { ...shape };
  return {
    step,
    updates: optimizer.step,
    window: copy,
    layout: { dp, pp, cp, tp },
    settings,
    model,
    tokens: text.train.count,
  };
}
