/** Products with packed weights against tfjs-core's with the same weights dequantized, for every variant and format. */
import { read } from '@fourfold/runtime';
import { stockKernels, tensorflow } from '@fourfold/runtime/tensorflow';
import { expectNoLeak, useBackend } from '@fourfold/runtime/testing';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { type PackedProductOptions, packedProduct, type Variant, type WeightFormat } from '../src/index.ts';
import { inBlocks } from '../src/quantized/formats.ts';
import { VARIANT_NUMBER } from '../src/quantized/packed-product.ts';
import { distance, FORMATS, rowsOf, tensorOf, weightOf } from './quantized.ts';

/** Sums of up to 1,100 products in another order: the worst that was seen is 1e-6 of the largest result. */
const FLOAT32 = 4e-6;

/** O in the middle of a panel, I of several blocks; for f32 and bf16 I in the middle of a block too. */
const shapeFor = (format: WeightFormat): [O: number, I: number] => (inBlocks(format) ? [37, 96] : [37, 77]);

type Kind = 'plain' | 'norm' | 'swiglu' | 'onto';
const KINDS: Kind[] = ['plain', 'norm', 'swiglu', 'onto'];

/** The product of N rows, as a list of rows. */
async function product(
  format: WeightFormat,
  N: number,
  kind: Kind,
  more: Pick<PackedProductOptions, 'activations' | 'variant'>,
): Promise<number[][]> {
  const [O, I] = shapeFor(format);
  const w = weightOf(format, O, I);
  const x = rowsOf('x', N, kind === 'swiglu' ? 2 * I : I);
  const gain_I = tensorOf('gain', [I]);
  const onto = rowsOf('onto', N, O);
  const options: PackedProductOptions = {
    ...more,
    norm: kind === 'norm' ? { gain_I, epsilon: 1e-5 } : undefined,
    swiglu: kind === 'swiglu',
    onto_NO: kind === 'onto' ? onto : undefined,
  };
  const y = packedProduct(x, w, options);
  const values = Array.from(await read(y));
  w.dispose();
  tf.dispose([x, gain_I, onto, y]);
  return Array.from({ length: N }, (_, n) => values.slice(n * O, (n + 1) * O));
}

const ACTIVATIONS = ['float32', 'q80'] as const;
const CASES = FORMATS.flatMap((format) => ACTIVATIONS.map((activations) => [format, activations] as const));

describe('on TensorFlow', () => {
  beforeAll(() => useBackend('cpu'));

  test.each(CASES)('%s weights, %s activations: what tfjs-core gives', async (format, activations) => {
    for (const kind of KINDS) {
      const actual = await expectNoLeak(() => product(format, 9, kind, { activations }));
      const expected = await stockKernels(() => expectNoLeak(() => product(format, 9, kind, { activations })));
      expect(distance(actual.flat(), expected.flat()), kind).toBeLessThan(FLOAT32);
    }
  });

  test.each(CASES)(
    '%s weights, %s activations: a row has the same bits whatever the others',
    async (format, activations) => {
      for (const kind of KINDS) {
        const all = await product(format, 9, kind, { activations });
        for (let N = 1; N < 9; N++)
          expect(await product(format, N, kind, { activations }), `${kind} ${N}`).toEqual(all.slice(0, N));
      }
    },
  );

  test.each(CASES)(
    '%s weights, %s activations: every variant that runs here gives the same bits',
    async (format, activations) => {
      const here = (['plain', 'avx2', 'vnni'] as Variant[]).filter((variant) =>
        tensorflow().native.hasVariant(VARIANT_NUMBER[variant]),
      );
      expect(here).toContain('plain');
      const results = await Promise.all(here.map((variant) => product(format, 7, 'norm', { activations, variant })));
      const best = await product(format, 7, 'norm', { activations });
      for (const result of results) expect(result).toEqual(best);
    },
  );
});
