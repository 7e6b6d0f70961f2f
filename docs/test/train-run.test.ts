import { openBackend } from '@fourfold/runtime';
import { expect, test } from 'vitest';
import { type Choices, FIRST } from '../src/train/choices.ts';
import { type News, trainInPage } from '../src/train/run.ts';
import { tokensOf } from '../src/train/text.ts';

const text = tokensOf('It was the best of times, it was the worst of times. '.repeat(200));
const ALONE = { dp: 1, pp: 1, cp: 1, tp: 1, micros: 1, zero: false } as const;
const STOP = new Error('enough');

/** The first steps of a run on WebAssembly, and what was told. */
async function firstSteps(change: Partial<Choices>, steps: number): Promise<News[]> {
  const backend = await openBackend({ device: 'wasm' });
  const [news, choices]: [News[], Choices] = [[], { ...FIRST, ...change }];
  const between = async () => {
    if (news.filter(({ kind }) => kind === 'counted').length >= steps) throw STOP;
  };
  await trainInPage({ choices, backend, text, between, tell: (one) => news.push(one) }).catch((error) => {
    if (error !== STOP) throw error;
  });
  return news;
}

const lossesOf = (news: News[]) => news.flatMap((one) => (one.kind === 'step' ? [one.loss] : []));

// 1e-5: the project's tolerance for layouts, float32 sums in another order.
test('sixteen ranks have the losses of one, send what the formulas say, and show their stages', async () => {
  const [sixteen, one] = [await firstSteps({}, 5), await firstSteps(ALONE, 5)];
  const [losses, expected] = [lossesOf(sixteen).slice(0, 4), lossesOf(one).slice(0, 4)];
  expect(losses).toHaveLength(4);
  for (const [i, loss] of losses.entries()) {
    const other = expected[i] as number;
    expect(Math.abs(loss / other - 1)).toBeLessThan(1e-5);
  }
  const counted = sixteen.filter((one) => one.kind === 'counted').slice(0, 5);
  expect(counted.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
  const last = counted.at(-1);
  expect(last?.groups.map(({ group }) => group).sort()).toEqual(['cp', 'dpCp', 'pp', 'tp']);
  expect(last?.groups.every(({ equal, sent }) => equal && sent > 0)).toBe(true);
  expect(last?.lanes.map(({ label }) => label)).toEqual(['pp0', 'pp1']);
  const names = last?.lanes[0]?.spans.map(({ name }) => name);
  expect(names?.filter((name) => name.startsWith('backward'))).toHaveLength(2);
  expect(Math.min(...(last?.lanes.flatMap(({ spans }) => spans.map(({ start }) => start)) ?? []))).toBe(0);
});

test('what can not be trained is refused before anything is told', async () => {
  await expect(firstSteps({ tp: 3 }, 1)).rejects.toThrow('tp=3 does not divide heads=4: use 1, 2, 4');
});
