/**
 * The command that makes TensorFlow ready, once per user.
 *
 *     npx nx run runtime:setup
 *     npx nx run runtime:setup --cache /scratch/fourfold      also: FOURFOLD_CACHE=/scratch/fourfold
 *     npx nx run runtime:setup --variant cuda                 on a cluster's login node, for nodes with GPUs
 *
 * Ends with 0 also where TensorFlow can't be had, since everything runs on wasm too.
 */
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf, UserError } from '../errors.ts';
import { findTensorflow, setUp } from './index.ts';
import { titleOf, type Variant } from './wheels.ts';

const OPTIONS = { cache: { type: 'string' }, variant: { type: 'string' } } as const;

function readOptions(): { cache: string | undefined; variant: Variant | undefined } {
  try {
    const { cache, variant } = parseArgs({ options: OPTIONS }).values;
    if (variant !== undefined && variant !== 'cpu' && variant !== 'cuda')
      throw new UserError(`--variant ${variant}: use cpu or cuda`);
    return { cache, variant };
  } catch (error) {
    console.error(`${messageOf(error)} (the options are --cache FOLDER and --variant cpu|cuda)`);
    process.exit(2);
  }
}

const options = readOptions();
const result = await setUp(options);
if ('reason' in result) {
  const found = await findTensorflow({ cache: options.cache });
  const instead = 'reason' in found ? 'the wasm backend, slower' : titleOf(found.variant);
  console.log(`${result.reason.charAt(0).toUpperCase()}${result.reason.slice(1)}; training will run on ${instead}.`);
} else {
  console.log(`${titleOf(result.variant)} is ready (${dirname(result.binding)}).`);
}
