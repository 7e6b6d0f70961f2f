/**
 * Writes a model as the folder that transformers loads.
 *
 *     npx nx run checkpoint:export -- --from smollm2-135m --out smollm2
 *     npx nx run checkpoint:export -- --from ~/models/big --out small --dtype bfloat16 --fileMegabytes 1000
 *
 * --from takes what --initFrom of training takes: a folder from Hugging Face, a .gguf file or a fetched name.
 */
import { parseArgs } from 'node:util';
import { exitWith, messageOf, UserError } from '@fourfold/runtime/errors';
import type { FloatDType } from '../floats.ts';
import { openPretrained } from '../pretrained.ts';
import { checkExport, exportPretrained } from './export.ts';

const DTYPES: Readonly<Record<string, FloatDType>> = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };
const text = { type: 'string' } as const;
const OPTIONS = { from: text, out: text, dtype: text, fileMegabytes: text };
const USAGE = 'the options are --from MODEL --out FOLDER --dtype float32|float16|bfloat16 --fileMegabytes NUMBER';

function readOptions() {
  const { from, out, dtype, fileMegabytes } = parse();
  if (!from || !out) throw new UserError(`--from and --out are needed: ${USAGE}`);
  if (dtype !== undefined && !Object.hasOwn(DTYPES, dtype))
    throw new UserError(`--dtype ${dtype}: use ${Object.keys(DTYPES).join(', ')}`);
  const megabytes = fileMegabytes === undefined ? undefined : Number(fileMegabytes);
  if (megabytes !== undefined && !(megabytes > 0 && Number.isFinite(megabytes)))
    throw new UserError(`--fileMegabytes ${fileMegabytes}: use a number above 0`);
  const fileBytes = megabytes === undefined ? undefined : megabytes * 1e6;
  return { from, out, dtype: dtype === undefined ? undefined : DTYPES[dtype], fileBytes };
}

function parse() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    throw new UserError(`${messageOf(error).split('\n')[0]?.replace(/\.$/, '')}: ${USAGE}`);
  }
}

try {
  const { from, out, ...options } = readOptions();
  checkExport(out, 'out');
  const model = await openPretrained(from, 'from');
  await exportPretrained(out, model, options);
  model.weights.close();
  const parameters = [...model.weights.tensors.values()].map(({ shape }) => shape.reduce((a, b) => a * b, 1));
  const millions = parameters.reduce((sum, count) => sum + count, 0) / 1e6;
  console.log(`${out}: ${parameters.length} tensors, ${millions.toFixed(2)} M parameters, as transformers loads them`);
} catch (error) {
  exitWith(error);
}
