import { readConfig } from '@fourfold/cli';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { samplingOf, samplingOptions } from '../../src/commands/sampling.ts';

const read = (...argv: string[]) =>
  samplingOf(readConfig({ name: 'x', usage: '', schema: z.object(samplingOptions), argv }));

test('flags become a sampling, and without them the likeliest token is taken', () => {
  expect(read()).toEqual({ temperature: 0, topP: 1, topK: 0, seed: 0, alternatives: 0 });
  expect(read('--temperature', '0.7', '--top-p', '0.9', '--topK', '40', '--seed', '5')).toEqual({
    ...{ temperature: 0.7, topP: 0.9, topK: 40, seed: 5, alternatives: 0 },
  });
});

test('what is out of range is a sentence', () => {
  expect(() => read('--temperature', '-1')).toThrow('--temperature -1: use a number from 0 to 100');
  expect(() => read('--top-p', '0')).toThrow('--topP 0: use a number above 0 and of at most 1');
});
