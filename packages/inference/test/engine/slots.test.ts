import { expect, test } from 'vitest';
import { commonLength, Slots } from '../../src/engine/slots.ts';

/** Slots that hold these tokens, all free, used in this order. */
function holding(...contents: number[][]): Slots {
  const slots = new Slots(contents.length);
  for (const [i, tokens] of contents.entries()) {
    const slot = slots.all[i];
    if (!slot) throw new Error('no such slot');
    slots.take({ slot, reused: 0 });
    slot.tokens.push(...tokens);
    slots.free(slot);
  }
  return slots;
}

const placed = (slots: Slots, prompt: number[]) => {
  const place = slots.placeFor(prompt);
  return place && { slot: place.slot.index, reused: place.reused, from: place.copyFrom?.index };
};

test('a chat that goes on takes the slot that holds it', () => {
  expect(placed(holding([9, 9], [1, 2, 3]), [1, 2, 3, 4])).toEqual({ slot: 1, reused: 3, from: undefined });
});

test('the last token of a prompt is always computed', () => {
  expect(placed(holding([9, 9], [1, 2, 3]), [1, 2, 3])).toEqual({ slot: 1, reused: 2, from: undefined });
});

test('what only one slot holds is not lost: its beginning is copied to the one used least recently', () => {
  expect(placed(holding([7], [1, 2, 3, 4, 5, 6], [8]), [1, 2, 3, 9])).toEqual({ slot: 0, reused: 3, from: 1 });
});

test('the slot used least recently gives up its rest anyway', () => {
  expect(placed(holding([1, 2, 3, 4, 5, 6], [8]), [1, 2, 3, 9])).toEqual({ slot: 0, reused: 3, from: undefined });
});

test('a running sequence lends its beginning', () => {
  const slots = holding([1, 2, 3], [8]);
  slots.take({ slot: slots.all[0] as (typeof slots.all)[0], reused: 3 });
  expect(placed(slots, [1, 2, 7])).toEqual({ slot: 1, reused: 2, from: 0 });
});

test('nothing in common: an empty slot, else the one used least recently; none where all run', () => {
  expect(placed(holding([7], []), [1, 2])).toEqual({ slot: 1, reused: 0, from: undefined });
  const slots = holding([7], [8]);
  expect(placed(slots, [1, 2])).toEqual({ slot: 0, reused: 0, from: undefined });
  for (const slot of slots.all) slots.take({ slot, reused: 0 });
  expect(placed(slots, [1, 2])).toBeUndefined();
});

test('a slot that is taken holds what it reuses and no more', () => {
  const slots = holding([1, 2, 3, 4], [8]);
  const place = slots.placeFor([1, 2, 9]);
  if (!place) throw new Error('no place');
  slots.take(place);
  expect(place.slot.tokens).toEqual([1, 2]);
  expect(place.slot.isFree).toBe(false);
});

test('how much two sequences have in common', () => {
  expect([commonLength([], [1]), commonLength([1, 2], [1, 2, 3]), commonLength([1, 2], [2])]).toEqual([0, 2, 0]);
});
