import { UserError } from '@fourfold/runtime';
import { sequencesPerStep } from '@fourfold/settings';
import { expect, test } from 'vitest';
import { aloneFor, layoutOf, sameBatchAlone, settingsFor, type Work, workOf } from '../src/rank-layouts.ts';

const work: Work = { model: 'micro', batch: 4, seq: 64, micros: 16, cpBatch: 1, cpSeq: 256, recompute: 'block' };

test.each([
  ['dp2', { dp: 2, pp: 1, cp: 1, tp: 1, flags: {} }],
  ['dp2-zero', { dp: 2, pp: 1, cp: 1, tp: 1, flags: { zero: true } }],
  ['dp4zero', { dp: 4, pp: 1, cp: 1, tp: 1, flags: { zero: true } }],
  ['tp2-sp', { dp: 1, pp: 1, cp: 1, tp: 2, flags: { sequenceParallel: true } }],
  ['pp4-interleaved', { dp: 1, pp: 4, cp: 1, tp: 1, flags: { ppEngine: 'interleaved' } }],
  ['dp2tp2pp16', { dp: 2, pp: 16, cp: 1, tp: 2, flags: {} }],
  ['tp2-sp-cp2-dp12-afab', { dp: 12, pp: 1, cp: 2, tp: 2, flags: { sequenceParallel: true, ppEngine: 'afab' } }],
])('%s', (name, layout) => {
  expect(layoutOf(name)).toEqual({ name, ...layout });
});

test.each([
  ['tp2-fast', /^layout tp2-fast: "fast" is no part of a name: .* then zero, sp, afab, interleaved$/],
  ['dp0', /"dp" is no part/],
  ['tp', /"tp" is no part/],
  ['2', /"2" is no part/],
  ['', /"" is no part/],
  ['dp2-dp4', /^layout dp2-dp4: "dp" is in it twice: once will do$/],
])('"%s" is refused in a sentence', (name, sentence) => {
  expect(() => layoutOf(name)).toThrow(UserError);
  expect(() => layoutOf(name)).toThrow(sentence);
});

test.each([
  ['dp2', 'batch 4, seq 64', 8],
  ['tp2-sp', 'batch 4, seq 64', 4],
  ['pp2', '16 x batch 4, seq 64', 64],
  ['cp2', 'batch 1, seq 256', 1],
  ['dp2-pp2-cp2', '16 x batch 1, seq 256', 32],
])('%s: a data-parallel rank has the work of the one GPU, %s', (name, text, sequences) => {
  const config = settingsFor(layoutOf(name), work);
  expect(workOf(config)).toBe(text);
  expect(sequencesPerStep(config)).toBe(sequences);
  expect(workOf(aloneFor(config))).toBe(text);
  const same = sameBatchAlone(config);
  expect(sequencesPerStep(same)).toBe(sequences);
  expect(same.gradAccSteps).toBe(config.gradAccSteps); // the same micro-batches, joined
  for (const one of [aloneFor(config), same]) {
    const { dp, pp, cp, tp, zero, sequenceParallel } = one;
    expect({ dp, pp, cp, tp, zero, sequenceParallel }).toEqual({
      ...{ dp: 1, pp: 1, cp: 1, tp: 1, zero: false, sequenceParallel: false },
    });
  }
});

test('what layouts have in common they share with the one GPU, and stages are balanced by cost', () => {
  const config = settingsFor(layoutOf('dp2-zero'), work);
  expect(config).toMatchObject({ model: 'micro', recompute: 'block', zero: true, ppBalance: 'cost' });
  expect(aloneFor(config)).toEqual(aloneFor(settingsFor(layoutOf('tp2-sp'), work))); // so it runs once
});
