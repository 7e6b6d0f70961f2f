/**
 * Runs as folders: each has its configuration, its script, its output, its figures and its state.
 *
 *     runs/micro/config.json    what to train                      metrics.jsonl   a line a step
 *                job.sh         what Slurm runs                    log-12.txt      what job 12 printed
 *                slurm.json     what the job asks of Slurm         status.json     what state it is in
 *
 * A configuration file of another name is copied into a folder of its own; a folder with a config.json is a run.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { readConfig } from '@fourfold/cli';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { checkModel, type Settings, settings } from '@fourfold/settings';
import { type JobOptions, jobOptions, resourcesOf } from './options.ts';
import { type Job, jobScript } from './script.ts';

export const CONFIG_FILE = 'config.json';
const OPTIONS_FILE = 'slurm.json';

/** A run to be: where its configuration is, and where its folder will be, which may be the same place. */
export interface Plan {
  readonly source: string;
  readonly folder: string;
  readonly name: string;
  readonly config: Settings;
}

/** The runs that the words name: configuration files, and folders in which there are some. */
export async function planRuns(words: readonly string[], out: string): Promise<Plan[]> {
  const plans: Plan[] = [];
  for (const source of words.flatMap(configsIn)) {
    const inPlace = basename(source) === CONFIG_FILE;
    const folder = resolve(inPlace ? dirname(source) : join(out, basename(source).replace(/\.json$/, '')));
    const same = plans.find((plan) => plan.folder === folder);
    if (same) throw new UserError(`${same.source} and ${source} would both run in ${folder}: rename one of them`);
    plans.push({ source, folder, name: basename(folder), config: await checkedConfig(source) });
  }
  return plans;
}

function configsIn(path: string): string[] {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (!stats) throw new UserError(`${path} is not there: name a configuration file, or a folder of runs`);
  if (stats.isFile()) return [path];
  const found = runFolders(path).map((folder) => join(folder, CONFIG_FILE));
  if (found.length === 0) throw new UserError(`${path} has no ${CONFIG_FILE} in it or below: name a file, or another`);
  return found;
}

/** The folders at or below `path` that hold a run, in order of their names. */
export function runFolders(path: string): string[] {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError(`${path} is not there: name a folder of runs`);
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((file) => basename(file) === CONFIG_FILE)
    .map((file) => join(path, dirname(file)))
    .sort();
}

/** What the path's run is called among those below `root`. */
export const runName = (root: string, folder: string): string => relative(root, folder) || basename(resolve(folder));

/** What `npm start` would find out at once should not be found out after an hour in the queue. */
async function checkedConfig(path: string): Promise<Settings> {
  const config = readConfig({ schema: settings, argv: ['--config', path], name: 'npm start --', usage: '' });
  await checkModel({ ...config, device: 'cuda' }); // the memory of this machine doesn't matter
  return config;
}

/** The plan's job, and with `write` its folder. The run's own files are made when it runs. */
export function makeRun({ source, folder, name, config }: Plan, options: JobOptions, write: boolean): Job {
  const { checkpoints = 'checkpoints' } = config;
  const job = { folder, name, options, resources: resourcesOf(config, options), checkpoints };
  if (!write) return job;
  mkdirSync(folder, { recursive: true });
  if (resolve(source) !== join(folder, CONFIG_FILE)) copyConfig(source, join(folder, CONFIG_FILE));
  const { hold: _, dependency: __, ...kept } = options; // of this one submission
  writeFileSync(join(folder, OPTIONS_FILE), `${JSON.stringify(kept, null, 2)}\n`);
  writeFileSync(join(folder, 'job.sh'), jobScript(job));
  return job;
}

/** Input files that are named from here are not to be looked for in the run's folder. */
function copyConfig(from: string, to: string): void {
  const { $schema: _, ...values } = JSON.parse(readFileSync(from, 'utf8')) as Record<string, unknown>;
  for (const key of ['data', 'tokenizer', 'initFrom', 'resume']) {
    const value = values[key];
    if (typeof value === 'string' && existsSync(value)) values[key] = resolve(value);
  }
  writeFileSync(to, `${JSON.stringify(values, null, 2)}\n`);
}

/** What the run's job asked of Slurm the last time. */
export function readOptions(folder: string): JobOptions {
  const path = join(folder, OPTIONS_FILE);
  try {
    return jobOptions.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new UserError(`${path} can't be read (${messageOf(error)}): submit the run again`);
  }
}
