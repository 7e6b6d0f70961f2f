import { expect, test } from 'vitest';
import { MACHINES, type Machine, membersHere, wayOf } from '../src/machines.ts';

const h100 = MACHINES['h100'] as Machine;

test('how many of a group share a node of 8', () => {
  expect(membersHere({ dp: 2, pp: 2, cp: 2, tp: 2 }, 8)).toEqual({ tp: 2, cp: 2, pp: 2, dpCp: 2 });
  expect(membersHere({ dp: 4, pp: 1, cp: 2, tp: 1 }, 8)).toEqual({ tp: 1, cp: 2, pp: 1, dpCp: 8 });
  expect(membersHere({ dp: 64, pp: 4, cp: 1, tp: 8 }, 8)).toEqual({ tp: 8, cp: 1, pp: 1, dpCp: 1 });
});

test('in a node the link; between nodes the ways out of all members there, but no faster than the link', () => {
  expect(wayOf(h100, 8, 8)).toEqual({ rate: 450e9, latency: 15e-6 });
  expect(wayOf(h100, 16, 1)).toEqual({ rate: 50e9, latency: 30e-6 });
  expect(wayOf(h100, 16, 8)).toEqual({ rate: 400e9, latency: 30e-6 });
  expect(wayOf({ ...h100, link: 1e9 }, 16, 8).rate).toBe(1e9);
});
