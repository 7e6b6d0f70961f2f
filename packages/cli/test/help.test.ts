import { expect, test } from 'vitest';
import { z } from 'zod';
import { helpOf } from '../src/help.ts';
import { command } from './example.ts';

test('help is a table of flags, defaults and meanings, by section', () => {
  expect(helpOf(command)).toBe(`example [--config FILE] [--key value ...]

Does nothing.

  --config               A JSON file of settings; what is given on the command line goes before it.
  --help                 Prints this.
  --schema               FILE: writes these settings as a JSON schema, for editors.

Model:
  --model         tiny   The shape: one of tiny, SmolLM-135M.
  --seqLength     128    Tokens in a sequence: a whole number of at least 1.
  --tp            1      Tensor-parallel ranks: only 1 for now.

Training:
  --learningRate  0.001  Peak step size: a number above 0 and of at most 1.
  --threads       auto   Threads that compute: auto or a whole number from 1 to 64.
  --shuffle       true   Whether batches are shuffled.

Data:
  --data                 Text files: several with commas between.
  --metrics              A file for the figures of each step.`);
});

test('long descriptions are broken between words at 100 columns, each line under the first', () => {
  const words = 'word '.repeat(40).trim();
  const text = helpOf({ ...command, schema: z.object({ key: z.string().default('value').describe(words) }) });
  const lines = text.split('\n').slice(-3);
  expect(lines[0]).toMatch(/^ {2}--key {5}value {2}(word ?)+\.?$/);
  expect(lines[1]).toMatch(/^ {19}(word ?)+\.?$/);
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  expect(lines.join(' ').match(/word/g)).toHaveLength(40);
});
