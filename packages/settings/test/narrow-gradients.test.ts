/** Gradients in bfloat16: where they would lose what they are for, they are refused. */
import { expect, test } from 'vitest';
import { checkSettings, settings, shapeOf } from '../src/index.ts';

const check = (changes: object) => {
  const config = settings.parse({ model: 'nano', gradientPrecision: 'bfloat16', ...changes });
  return () => checkSettings(config, shapeOf(config, { vocabularySize: 256 }));
};

test('bfloat16 weights and one micro-batch a step can have bfloat16 gradients', () => {
  expect(check({ precision: 'bfloat16', dp: 2, zero: true })).not.toThrow();
});

test('float32 weights can not, nor can what adds up several micro-batches', () => {
  expect(check({})).toThrow('gradientPrecision=bfloat16 needs bfloat16 weights: use precision=bfloat16');
  expect(check({ precision: 'bfloat16', gradAccSteps: 4 })).toThrow(
    'gradientPrecision=bfloat16 would lose what gradAccSteps=4 adds up: use gradAccSteps=1 or float32',
  );
});
