import { Call, spmd } from '@fourfold/process-group';
import { openBackend } from '@fourfold/runtime';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { timeline } from '../src/timeline.ts';

const count = (svg: string, part: string): number => svg.split(part).length - 1;

/** A call that took from `start` to `end` and was waited for from `waiting` on. */
function call(group: string, start: number, waiting: number, end: number): Call {
  const made = new Call('allReduce', 'allReduce(sum) of float32 [2]', group, [1]);
  Object.assign(made, { start, end, bytes: 8 });
  Object.defineProperty(made, 'waited', { value: end - waiting });
  return made;
}

test('a bar for each call, strong where it was waited for, on the track and in the colour of its group', () => {
  const calls = [call('tp', 100, 104, 110), call('dp', 110, 120, 120)];
  const svg = timeline({ title: 'two <calls>', ranks: [{ label: 'dp0', calls }] });
  expect(svg).toContain('two &lt;calls&gt;');
  expect(count(svg, '<title>')).toBe(2);
  // 20 ms over 826 pixels from 110: the first from 0 to 10 ms, waited for from 4 ms on; the second not at all.
  const strong = '<rect x="275.2" width="247.8" y="96" height="9" fill="#2f6fde" opacity="1"/>';
  expect(svg).toContain(`<rect x="110" width="413" y="96" height="9" fill="#2f6fde" opacity="0.35"/>${strong}`);
  expect(svg).toContain('<rect x="523" width="413" y="105" height="9" fill="#d9622b" opacity="0.35"/></g>');
  expect(svg).toContain('tp: allReduce(sum) of float32 [2]; 8 bytes sent, 10.00 ms, waited 6.00 ms; with ranks 1');
});

test('the trace of a real run: every call of every rank', async () => {
  await openBackend({ device: 'cpu' });
  const traced = await spmd(3, async (world) => {
    world.recorder.trace = [];
    const x = tf.scalar(world.rank);
    const [sum, all] = await Promise.all([world.allReduce(x), world.broadcast(x, 0)]);
    await world.barrier();
    tf.dispose([x, sum, all]);
    return { label: `rank ${world.rank}`, calls: world.recorder.trace };
  });
  const svg = timeline({ title: 'three ranks', ranks: traced });
  expect(count(svg, '<title>')).toBe(9);
  for (const rank of [0, 1, 2]) expect(svg).toContain(`>rank ${rank}</text>`);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

test('no calls, no bars', () => {
  const svg = timeline({ title: 'quiet', ranks: [{ label: 'rank 0', calls: [] }] });
  expect(count(svg, '<title>')).toBe(0);
  expect(svg).not.toMatch(/NaN|Infinity/);
});
