/**
 * Every architecture against transformers (Grok-1: numpy), from folders and GGUF files: tools/fixtures/inference.py.
 */
import { openSafetensors } from '@fourfold/checkpoint';
import { openBackend } from '@fourfold/runtime';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Decoder, Row } from '../src/decoder.ts';
import { openModel } from '../src/open.ts';
import { openDecoder } from '../src/open-decoder.ts';

const fixtures = new URL('fixtures/', import.meta.url).pathname;
const NAMES = ['mistral', 'qwen3', 'mixtral', 'qwen3_moe', 'grok-1'];
const [SEQUENCES, LENGTH, V] = [2, 12, 61];

beforeAll(() => openBackend({ device: 'cpu' }));

async function reference(name: string) {
  const file = await openSafetensors(`${fixtures}${name}-reference.safetensors`);
  const tokens = (await file.read('tokens')) as Int32Array;
  const logits = (await file.read('logits')) as Float32Array;
  const ofGguf = file.names.includes('gguf_logits') ? ((await file.read('gguf_logits')) as Float32Array) : undefined;
  await file.close();
  return { tokens, logits, ofGguf };
}

/** All rows of both sequences, each in a slot of its own. */
const rowsOf = (tokens: Int32Array): Row[] =>
  Array.from(tokens, (token, i) => ({
    ...{ token, slot: Math.floor(i / LENGTH), position: i % LENGTH, wanted: 'all' as const },
  }));

async function inSteps(decoder: Decoder, steps: readonly (readonly Row[])[]): Promise<Float32Array[]> {
  const values: Float32Array[] = [];
  for (const rows of steps) values.push(...(await decoder.step(rows)).map((logits) => logits.values));
  return values;
}

const flat = (values: readonly Float32Array[]): Float32Array => Float32Array.from(values.flatMap((each) => [...each]));
const farthest = (a: Float32Array, b: Float32Array): number => {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), 0);
};

const open = async (name: string, ranks = 1) =>
  openDecoder(await openModel(`${fixtures}${name}`), { slots: SEQUENCES, activations: 'float32' }, ranks);

// Both compute in float32 with logits up to 7: what is left is rounding, some millionths.
const ROUNDING = 1e-4;

describe.each(NAMES)('%s', (name) => {
  test('gives the logits of its reference', async () => {
    const { tokens, logits } = await reference(name);
    const decoder = await open(name);
    const values = flat(await inSteps(decoder, [rowsOf(tokens)]));
    await decoder.close();
    expect(farthest(values, logits)).toBeLessThan(ROUNDING);
    expect(values.length).toBe(SEQUENCES * LENGTH * V);
  });

  test('gives the same bits token by token, and with prompts beside answers', async () => {
    const rows = rowsOf((await reference(name)).tokens);
    const [first, second] = [rows.slice(0, LENGTH), rows.slice(LENGTH)];
    const decoder = await open(name);
    const atOnce = await inSteps(decoder, [first, second]);
    const oneByOne = await inSteps(
      decoder,
      rows.map((row) => [row]),
    );
    const mixed = first.map((row, i) => (i < 4 ? [row] : i === 4 ? [row, ...second.slice(0, 7)] : [row]));
    const beside = await inSteps(decoder, [...mixed, second.slice(7)]);
    await decoder.close();
    expect(oneByOne).toEqual(atOnce);
    expect(flat(beside.slice(0, 5))).toEqual(flat(atOnce.slice(0, 5)));
    expect(flat(beside.slice(5, 12))).toEqual(flat(atOnce.slice(LENGTH, LENGTH + 7)));
    expect(flat(beside.slice(12))).toEqual(flat([...atOnce.slice(5, LENGTH), ...atOnce.slice(LENGTH + 7)]));
  });

  test.each([2, 3, 4, 6])('gives the same logits on %d ranks', async (ranks) => {
    const { tokens, logits } = await reference(name);
    const decoder = await open(name, ranks);
    const values = flat(await inSteps(decoder, [rowsOf(tokens)]));
    await decoder.close();
    expect(farthest(values, logits)).toBeLessThan(ROUNDING);
  });
});

test('experts in one tensor, as transformers 5 has them in memory, are the same experts', async () => {
  const { tokens, logits } = await reference('mixtral');
  const decoder = await open('mixtral-fused');
  const values = flat(await inSteps(decoder, [rowsOf(tokens)]));
  await decoder.close();
  expect(farthest(values, logits)).toBeLessThan(ROUNDING);
});

test.each(['qwen3', 'mixtral', 'qwen3_moe'])('%s in GGUF gives the logits of what its blocks hold', async (name) => {
  const { tokens, ofGguf } = await reference(name);
  const decoder = await open(`${name}.gguf`);
  const values = flat(await inSteps(decoder, [rowsOf(tokens)]));
  await decoder.close();
  expect(farthest(values, ofGguf as Float32Array)).toBeLessThan(ROUNDING);
});
