import { MODELS } from '@fourfold/model';
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { measure, shapeOf } from '../../src/commands/bench.ts';
import type { StepCost } from '../../src/decoder.ts';
import { run, SMALL_BENCH } from '../support/command.ts';
import { fakeDecoder } from '../support/fake-decoder.ts';

test('shapes go by name in any case, SmolLM2 by its own, with as many layers as wanted', () => {
  const named = (shape: string, layers?: number) => shapeOf({ shape, layers });
  expect(named('smollm2-135m')).toMatchObject(MODELS['SmolLM-135M'] ?? {});
  expect(named('LLAMA-3-8b')).toEqual(named('Llama-3-8B'));
  expect(named('Grok-1', 3)).toMatchObject({ architecture: 'grok-1', layers: 3 });
  expect(() => named('gpt-9')).toThrow(UserError);
  expect(() => named('gpt-9')).toThrow(/^--shape gpt-9: use .*Llama-3-8B.*, grok-1, or a config.json/);
});

test('each generated token is told of, once, and its successor is the likeliest', async () => {
  const decoder = fakeDecoder({ maxSeqLength: 64, maxRows: 8 });
  const told: [StepCost, number][] = [];
  const measured = await measure(decoder, 20, 5, (cost, token) => told.push([cost, token]));
  expect(told).toHaveLength(5);
  expect(new Set(told.map(([, token]) => token)).size).toBeGreaterThan(1);
  expect(measured.promptTokensPerSecond).toBeGreaterThan(0);
});

test('the command prints a line for each token and the table', async () => {
  const { code, stdout } = await run([...SMALL_BENCH, '--stats']);
  expect(code).toBe(0);
  expect(stdout.match(/^ +[\d.]+ ms {2}I .* "token \d+"$/gm)).toHaveLength(3);
  expect(stdout).toMatch(/^rank 0 {7}[\d.]+ MB of memory: weights [\d.]+, keys and values 0\.0$/m);
}, 60_000);

test('too many ranks are one sentence, and exit code 2', async () => {
  const { code, stderr } = await run([...SMALL_BENCH, '--local', '10']);
  expect([code, stderr]).toEqual([2, expect.stringContaining("ranks=10 can't share the model's 9 heads: use 1 to 9")]);
});
