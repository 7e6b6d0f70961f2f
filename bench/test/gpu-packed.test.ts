import { openBackend } from '@fourfold/runtime';
import { tensorflow } from '@fourfold/runtime/tensorflow';
import { expectNoLeak } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { checkCase, checkPacked, type PackedCase } from '../src/gpu-packed.ts';

beforeAll(async () => void (await openBackend({ device: 'cpu' })));

/** What a case of one number says, which is `stock` in stock kernels, then `ours` and `again`. */
async function verdictOn(stock: number, ours: number, again: number): Promise<[boolean, string]> {
  let runs = 0;
  const one: PackedCase = {
    name: 'a case',
    bound: 1e-3,
    run: () => {
      if (tensorflow().fusedDtypes.length === 0) return [tf.tensor1d([stock])];
      runs += 1;
      return [tf.tensor1d([runs === 1 ? ours : again])];
    },
  };
  const lines: string[] = [];
  const good = await expectNoLeak(() => checkCase(one, (line) => lines.push(line)));
  return [good, lines.join('\n').replace(/ +/g, ' ')];
}

test('a case holds within its bound, fails beyond it, and fails where it gives other bits', async () => {
  expect(await verdictOn(1, 1, 1)).toEqual([true, 'ok a case 0.0e+0 (1e-3)']);
  expect(await verdictOn(4, 4.0625, 4.0625)).toEqual([false, 'FAIL a case 1.6e-2 (1e-3)']);
  expect(await verdictOn(1, 1, 1.0001)).toEqual([false, 'FAIL a case 0.0e+0 (1e-3), other bits!']);
  expect(await verdictOn(1, Number.NaN, Number.NaN)).toEqual([false, 'FAIL a case Infinity (1e-3)']);
});

test("the processor's ops hold, and nothing stays behind", { timeout: 60_000 }, async () => {
  const lines: string[] = [];
  const results = await expectNoLeak(() => checkPacked((line) => lines.push(line)));
  expect(lines.filter((line) => line.startsWith('FAIL'))).toEqual([]);
  expect(results).toEqual(lines.slice(1).map(() => true));
});
