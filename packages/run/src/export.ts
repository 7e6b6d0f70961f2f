/**
 * Writes a model as the folder that transformers loads.
 *
 *     npx nx run checkpoint:export -- --from runs/a --out model                        a run's newest checkpoint
 *     npx nx run checkpoint:export -- --from runs/a/step-000300 --out model            this one
 *     npx nx run checkpoint:export -- --from smollm2-135m --out smollm2 --dtype bfloat16 --fileMegabytes 1000
 *
 * --from takes a checkpoint of any layout, and what --initFrom of training takes: a folder from Hugging Face, a .gguf
 * file or a fetched name.
 */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  checkExport,
  exportModel,
  exportPretrained,
  type FloatDType,
  findAt,
  listCheckpoints,
  openCheckpoint,
  openPretrained,
  sizeOf,
  type TensorSource,
} from '@fourfold/checkpoint';
import { type LlamaConfig, parameterShapes } from '@fourfold/model';
import { Parameter } from '@fourfold/ops';
import { spmd } from '@fourfold/process-group';
import { openBackend, read } from '@fourfold/runtime';
import { exitWith, messageOf, UserError } from '@fourfold/runtime/errors';
import { type Settings, storedDType, textsOf } from '@fourfold/settings';

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

/** Whether a path is a checkpoint, or a folder of them. */
const isCheckpoint = async (path: string): Promise<boolean> =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() === true &&
  (existsSync(join(path, 'checkpoint.json')) || (await listCheckpoints(path)).length > 0);

type Options = Omit<ReturnType<typeof readOptions>, 'from' | 'out'>;

/** Returns how many elements each tensor has. */
async function exportCheckpoint(path: string, out: string, { dtype, fileBytes }: Options): Promise<number[]> {
  await openBackend({ device: 'auto' });
  const [found] = await spmd(1, (world) => findAt(world, path, console.error));
  if (!found) throw new Error('a world of one rank found nothing and threw nothing');
  const settings = found.manifest.settings as Settings;
  const shape = found.manifest.model as unknown as LlamaConfig;
  const checkpoint = await openCheckpoint(found);
  const tensors = new Map<string, TensorSource>();
  for (const [name, sides] of parameterShapes(shape)) {
    const values = async () => {
      const tensor = await checkpoint.tensor('weight', new Parameter(name, sides), settings.precision);
      const numbers = Float32Array.from(await read(tensor));
      tensor.dispose();
      return numbers;
    };
    tensors.set(name, { shape: sides, dtype: dtype ?? storedDType(settings.precision), values });
  }
  const origin = settings.initFrom === undefined ? undefined : await openPretrained(settings.initFrom);
  origin?.weights.close();
  await exportModel(out, { shape, tensors, ...(await textsOf(settings, origin)) }, fileBytes);
  await checkpoint.close();
  return [...tensors.values()].map((tensor) => sizeOf(tensor.shape));
}

async function exportLoaded(from: string, out: string, options: Options): Promise<number[]> {
  const model = await openPretrained(from, 'from');
  await exportPretrained(out, model, options);
  model.weights.close();
  return [...model.weights.tensors.values()].map(({ shape }) => sizeOf(shape));
}

try {
  const { from, out, ...options } = readOptions();
  checkExport(out, 'out');
  const sizes = await ((await isCheckpoint(from)) ? exportCheckpoint : exportLoaded)(from, out, options);
  const millions = sizes.reduce((sum, count) => sum + count, 0) / 1e6;
  console.log(`${out}: ${sizes.length} tensors, ${millions.toFixed(2)} M parameters, as transformers loads them`);
} catch (error) {
  exitWith(error);
}
