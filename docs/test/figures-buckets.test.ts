/** The figure of an overlapped backward against the package's formula and the clock's own rules. */
import '@tensorflow/tfjs-backend-cpu';
import { MODELS, parameterShapes } from '@fourfold/model';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { bucketFigure, bucketSummary, LATENCY, recordStep, VERSIONS } from '../src/figures/buckets.ts';

beforeAll(() => tf.setBackend('cpu'));

const NAMES = [...parameterShapes({ ...(MODELS['micro'] as NonNullable<(typeof MODELS)[string]>), vocabulary: 256 })];
const KIB = 1024;
const figure = async (version: (typeof VERSIONS)[number], bucketBytes = 512 * KIB, rate = 1e9, dp = 2) =>
  bucketFigure(await recordStep({ version, dp, bucketBytes }), { rate, backward: 10 });

describe.each(VERSIONS)('%s', (version) => {
  test.each([2, 4])('on %i ranks: 2 (n-1)/n of the bytes, by count and by formula', async (n) => {
    const before = tf.memory().numTensors;
    const { bytes, formula } = await figure(version, 512 * KIB, 1e9, n);
    const all = NAMES.reduce((sum, [, sides]) => sum + 4 * sides.reduce((a, b) => a * b, 1), 0);
    expect(bytes).toBe(formula);
    expect(bytes).toBe((2 * (n - 1) * all) / n); // whole: every tensor divides
    expect(tf.memory().numTensors).toBe(before);
  });

  test('every gradient travels once, and nothing before it is there', async () => {
    const { messages, computed } = await figure(version);
    const gradients = messages.filter(({ operation }) => operation !== 'allGather');
    const names = gradients.flatMap(({ parameters }) => parameters);
    expect(names.toSorted()).toEqual(NAMES.map(([name]) => name).toSorted());
    for (const { start, ready } of messages) expect(start).toBeGreaterThanOrEqual(ready);
    const layers = ['head', 'layer 3', 'layer 2', 'layer 1', 'layer 0'];
    expect(computed.map(({ name }) => name)).toEqual(layers);
    expect(computed.at(-1)?.end).toBeCloseTo(10, 9);
  });

  test('the network has one message at a time, each as long as its bytes', async () => {
    const { messages } = await figure(version, 128 * KIB, 5e8);
    for (const [i, { start, end, bytes }] of messages.entries()) {
      expect(end - start).toBeCloseTo(LATENCY + (1000 * bytes) / 5e8, 9);
      if (i > 0) expect(start).toBeGreaterThanOrEqual(messages[i - 1]?.end as number);
    }
  });
});

test('the naive version waits for backward; buckets begin within it, and end before', async () => {
  const [naive, buckets] = [await figure('naive'), await figure('buckets')];
  expect(naive.messages[0]?.start).toBeCloseTo(10, 9);
  expect(naive.exposed).toBeCloseTo(
    naive.messages.reduce((sum, { start, end }) => sum + end - start, 0),
    9,
  );
  expect(buckets.messages[0]?.start).toBeLessThan(3);
  expect(buckets.exposed).toBeLessThan(naive.exposed);
});

test('a bucket holds no more than its bytes, but for a parameter that is larger', async () => {
  const sizes = new Map(NAMES.map(([name, sides]) => [name, 4 * sides.reduce((a, b) => a * b, 1)]));
  for (const bucketBytes of [64 * KIB, 256 * KIB, 4096 * KIB])
    for (const { parameters } of (await figure('buckets', bucketBytes)).messages)
      if (parameters.length > 1)
        expect(parameters.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0)).toBeLessThanOrEqual(bucketBytes);
});

test('smaller buckets are more messages', async () => {
  const counts = [];
  for (const size of [64, 512, 4096]) counts.push((await figure('buckets', size * KIB)).messages.length);
  expect(counts).toEqual(counts.toSorted((a, b) => b - a));
  expect(new Set(counts).size).toBe(3);
});

test('ZeRO scatters gradients bucket by bucket, and gathers the same buckets of weights behind', async () => {
  const { messages } = await figure('zero');
  const [first, second] = [messages.slice(0, messages.length / 2), messages.slice(messages.length / 2)];
  expect(new Set(first.map(({ operation }) => operation))).toEqual(new Set(['reduceScatter']));
  expect(new Set(second.map(({ operation }) => operation))).toEqual(new Set(['allGather']));
  for (const { bucket, bytes } of second) expect(first[bucket]?.bytes).toBe(bytes); // both are float32
});

test('a bucket fills from its first gradient to its last, and no two lie on each other', async () => {
  for (const version of VERSIONS) {
    const { fills, lanes, messages, backward } = await figure(version);
    for (const { bucket, start, end } of fills) {
      expect(start).toBeLessThan(end);
      if (version !== 'naive') expect(messages[bucket]?.ready).toBeCloseTo(end, 9);
      expect(end).toBeLessThan(backward + 1e-9);
    }
    for (let lane = 0; lane < lanes; lane++) {
      const own = fills.filter((fill) => fill.lane === lane).toSorted((a, c) => a.start - c.start);
      for (const [i, fill] of own.slice(1).entries()) expect(fill.start).toBeGreaterThanOrEqual(own[i]?.end as number);
    }
  }
});

test('the embedding, tied to the head, is the last to go', async () => {
  const { messages } = await figure('buckets');
  expect(messages.at(-1)?.parameters).toContain('model.embed_tokens.weight');
});

test('the summary has the count, the formula and what is exposed', async () => {
  const one = await figure('naive');
  expect(bucketSummary(one)).toMatch(/^38 messages of a rank, 3.13 MiB \(by the formula 3.13 MiB\)/);
  expect(bucketSummary(one)).toContain('backward hides 0.0%');
});
