import { test } from 'vitest';
import { expectRefused } from './command.ts';

test('batches without halves are refused in a sentence, before anything is trained', () =>
  expectRefused(
    /^control=true halves each batch, and microBatchSize=3 is odd: use an even/,
    'precision.ts',
    ...['--device', 'cpu', '--model', 'nano', '--control', '--microBatchSize', '3'],
  ));
