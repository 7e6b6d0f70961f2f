/**
 * `npx fourfold convert`: writes a model with its matrices in blocks of 4 or 8 bits.
 *
 *     npx fourfold convert HuggingFaceTB/SmolLM2-135M smollm2-q40 --format q40
 *     npx fourfold convert model.gguf model-q80 --format q80
 *     npx fourfold generate --model smollm2-q40 --prompt "The capital of France is"
 *
 * It takes what --model of the other commands takes: a folder from Hugging Face, a .gguf file or a fetched name.
 */
import { checkExport } from '@fourfold/checkpoint';
import { readConfig, runMain } from '@fourfold/cli';
import { openBackend } from '@fourfold/runtime';
import { z } from 'zod';
import { CONVERTED, convert } from '../convert.ts';
import { openModel } from '../open.ts';

/** The command's settings. */
export const schema = z.object({
  model: z.string().describe('the model to convert: a folder, a .gguf file or a fetched name').meta({ group: 'Model' }),
  out: z.string().describe('the folder to write, which must not be there yet'),
  format: z.enum(CONVERTED).default('q40').describe('blocks of 4 bits (q40) or of 8 bits (q80) a weight'),
});

/** `MODEL OUT` before any flag as `--model MODEL --out OUT`. */
export function withNames(argv: readonly string[]): string[] {
  const first = argv.findIndex((word) => word.startsWith('--'));
  const [names, flags] = first < 0 ? [argv, []] : [argv.slice(0, first), argv.slice(first)];
  return [...names.flatMap((word, i) => (i < 2 ? [i === 0 ? '--model' : '--out', word] : [word])), ...flags];
}

async function run(argv: readonly string[]): Promise<void> {
  const usage = "Writes a model's folder with its matrices in blocks: npx fourfold convert MODEL OUT --format q40.";
  const {
    model: name,
    out,
    format,
  } = readConfig({ schema, argv: withNames(argv), name: 'npx fourfold convert', usage });
  checkExport(out, 'out');
  await openBackend({ device: 'cpu' });
  const model = await openModel(name);
  try {
    await convert(model, out, format);
    console.log(`${out}: ${name} with its matrices in ${format}, ${model.tensors.size} tensors`);
  } finally {
    model.close();
  }
}

/** Starts the command with what follows its name. */
export const main = (argv: readonly string[]): Promise<void> => runMain(() => run(argv));
