/**
 * `npx fourfold create-config`: writes a run's configuration, named after its layout, once it is known to be possible.
 *
 *     npx fourfold create-config                                             asks, on a terminal
 *     npx fourfold create-config --model SmolLM-1.7B --tp 2 --dp 2 --mbs 4 --grad_acc_steps 8 --seq_len 2048
 *
 * It takes all settings of a run, and knows the flags of picotron's create_config.py by their names there. What is as
 * usual is left out of the file. A file that is there already stays, unless --force is given.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HelpWanted, readConfig } from '@fourfold/cli';
import { layoutName, modelParameters } from '@fourfold/plan';
import { rankCount } from '@fourfold/process-group';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { checkModel, type Settings, sequencesPerStep, settings } from '@fourfold/settings';
import { z } from 'zod';
import { askForSettings } from './questions.ts';

const { launcher, ...training } = settings.shape;
const schema = z.object({
  out: z.string().default('configs').describe('folder for the file').meta({ group: 'File' }),
  name: z.string().optional().describe("the file's name without .json; default: the layout, dp2-tp2-pp1-cp1-..."),
  force: z.boolean().default(false).describe('write over a file that is there'),
  ...training,
  launcher: launcher.unwrap().default('processes').describe('ranks as a process each, or as coroutines of one (local)'),
});

// ## picotron's flags

/** Its names for what has another here. */
const PICOTRON: Readonly<Record<string, string>> = {
  out_dir: 'out',
  exp_name: 'name',
  model_name: 'model',
  num_hidden_layers: 'layers',
  num_attention_heads: 'heads',
  num_key_value_heads: 'kvHeads',
  pp_engine: 'ppEngine',
  grad_acc_steps: 'gradAccSteps',
  mbs: 'microBatchSize',
  seq_len: 'seqLength',
};

/** What it has and a configuration here doesn't, and why. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  use_fused_adam: 'AdamW is always one fused op: leave it out',
  hf_token: 'this writes a configuration and downloads nothing: leave it out',
  subset_name: 'data is a text: use --data with its path',
  use_wandb: 'use --metrics FILE, a line of JSON a step',
};

/** A command line with picotron's names replaced by ours: `--mbs 4` to `--microBatchSize 4`. */
export function inOurWords(argv: readonly string[]): string[] {
  return argv.flatMap((word, i) => {
    const [, name = '', value = ''] = /^--([a-z_]+)(=.*)?$/s.exec(word) ?? [];
    if (ELSEWHERE[name]) throw new UserError(`--${name} is picotron's: ${ELSEWHERE[name]}`);
    if (name === 'use_cpu') return ['--device', 'cpu'];
    if (PICOTRON[name]) return [`--${PICOTRON[name]}${name === 'model_name' ? plainName(value) : value}`];
    return [argv[i - 1] === '--model_name' ? plainName(word) : word];
  });
}

/** 'HuggingFaceTB/SmolLM-360M-Instruct' to 'SmolLM-360M': the shape is what counts. */
const plainName = (model: string): string => model.replace(/^(=?)(?:.*\/)?(.*?)(?:-Instruct)?$/, '$1$2');

// ## The file

/** What is to be written: the layout in any case, and what isn't as usual. */
export function contentOf(config: Settings, file: string): Record<string, unknown> {
  const usual: Record<string, unknown> = settings.parse({});
  const always = ['model', 'dp', 'tp', 'pp', 'cp', 'microBatchSize', 'gradAccSteps', 'seqLength'];
  const told = Object.entries(config).filter(([key, value]) => always.includes(key) || value !== usual[key]);
  const ours = fileURLToPath(new URL('../../../configs/schema.json', import.meta.url));
  const path = relative(dirname(resolve(file)), ours).replaceAll('\\', '/');
  return { $schema: path.startsWith('.') ? path : `./${path}`, ...Object.fromEntries(told) };
}

function write(file: string, config: Settings, force: boolean): void {
  if (existsSync(file) && !force) throw new UserError(`${file} is there already: use --force, or another --name`);
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${JSON.stringify(contentOf(config, file), null, 2)}\n`);
  } catch (error) {
    throw new UserError(`${file} can't be written: ${messageOf(error)}`);
  }
}

/** Throws where a run couldn't be. Whether the memory suffices is asked only if it would be this machine's. */
async function checked(config: Settings) {
  const shape = await checkModel(config.device === 'auto' ? { ...config, device: 'cuda' } : config);
  return { config, shape };
}

/** Writes the configuration and says what a run with it will be. */
async function create({ out, name, force, ...config }: z.output<typeof schema>): Promise<void> {
  const job = await checked(config);
  const file = join(out, `${name ?? layoutName(config)}.json`);
  write(file, config, force);
  const count = (number: number) => number.toLocaleString('en-US');
  const sequences = sequencesPerStep(config);
  const ranks = rankCount(config);
  console.log(
    `${file}: ${config.model}, ${count(modelParameters(job))} parameters, on ${ranks} rank${ranks === 1 ? '' : 's'}`,
  );
  console.log(`Global batch: ${count(sequences)} sequences, ${count(sequences * config.seqLength)} tokens`);
  console.log(`Train with  npm start -- --config ${file}\nPlan with   npx nx run train:plan -- --config ${file}`);
}

export async function main(argv: readonly string[]): Promise<void> {
  const usage = "Writes a run's configuration. Without any setting it asks, on a terminal. picotron's flags work too.";
  const read = (words: readonly string[]) =>
    readConfig({ schema, argv: inOurWords(words), name: 'npx fourfold create-config', usage });
  try {
    if (argv.length > 0 || !process.stdin.isTTY) return await create(read(argv));
    const answers = await askForSettings((answers) => checked(schema.parse(answers)));
    if (answers) return await create(schema.parse(answers));
    process.exitCode = 130;
  } catch (error) {
    if (error instanceof HelpWanted) return console.log(error.message);
    console.error(error instanceof UserError ? error.message : error);
    process.exitCode = error instanceof UserError ? 2 : 1;
  }
}
