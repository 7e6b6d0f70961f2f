/**
 * All runs below a folder, each with what its three files say of it:
 *
 *     config.json     model, layout, batch
 *     status.json     how it ended, where it was a job
 *     *.jsonl         its figures (`npm start -- --metrics FILE`; a job's are metrics.jsonl)
 *
 * A folder with a config.json is a run even if it has no figures yet. A file of figures that lies somewhere else is a
 * run too, of which less is known.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { rankCount } from '@fourfold/process-group/mesh';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { type Settings, settings } from '@fourfold/settings';
import { CONFIG_FILE, runName } from '../slurm/runs.ts';
import { readStatus, STATUS_FILE } from '../slurm/state.ts';
import { type Figures, figuresOf } from './figures.ts';

export interface Run extends Figures {
  readonly name: string;
  /** '' where it was no job. */
  readonly status: string;
  readonly config: Settings | undefined;
  /** Processes with a GPU or CPU of their own, among which tokens are divided; undefined where nothing says so. */
  readonly devices: number | undefined;
  /** Tokens a second of one of them. */
  readonly tokensPerSecondPerDevice: number | undefined;
  /** What there is to know besides: 'exit code 2', '1 unreadable line'. */
  readonly note: string;
}

/** @throws UserError where there is no such folder, or no run in it */
export function gatherRuns(root: string, warmUp: number): Run[] {
  if (!statSync(root, { throwIfNoEntry: false })?.isDirectory())
    throw new UserError(`${root} is not there: name a folder of runs`);
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).map((file) => join(root, file));
  const figures = files.filter((file) => file.endsWith('.jsonl'));
  const folders = files.filter((file) => basename(file) === CONFIG_FILE).map(dirname);
  const bare = folders.filter((folder) => !figures.some((file) => dirname(file) === folder));
  const runs = [
    ...figures.map((file) => runOf(root, dirname(file), file, warmUp)).filter(isRun),
    ...bare.map((folder) => runOf(root, folder, undefined, warmUp)),
  ];
  if (runs.length === 0)
    throw new UserError(`${root} has no ${CONFIG_FILE} or .jsonl in it or below: name another folder`);
  return runs.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Other files have lines of JSON too, such as texts to train on. */
const isRun = ({ config, step }: Run): boolean => config !== undefined || step !== undefined;

function runOf(root: string, folder: string, file: string | undefined, warmUp: number): Run {
  const path = file === undefined || basename(file) === 'metrics.jsonl' ? folder : file.replace(/\.jsonl$/, '');
  const wasJob = existsSync(join(folder, STATUS_FILE));
  const { state, detail } = readStatus(folder);
  const { config, problem } = readConfigOf(folder);
  const figures = figuresOf(file === undefined ? '' : readFileSync(file, 'utf8'), warmUp);
  const { tokensPerSecond, unreadable } = figures;
  const devices = config && (wasJob || config.launcher === 'processes' ? rankCount(config) : 1);
  const torn = unreadable > 0 ? `${unreadable} unreadable line${unreadable === 1 ? '' : 's'}` : '';
  return {
    ...figures,
    name: runName(root, path),
    status: wasJob ? state : '',
    config,
    devices,
    tokensPerSecondPerDevice: tokensPerSecond && devices && tokensPerSecond / devices,
    note: [detail, problem, torn].filter(Boolean).join('; '),
  };
}

function readConfigOf(folder: string): { readonly config?: Settings; readonly problem?: string } {
  const path = join(folder, CONFIG_FILE);
  if (!existsSync(path)) return {};
  try {
    return { config: settings.parse(JSON.parse(readFileSync(path, 'utf8'))) };
  } catch (error) {
    const [first = ''] = messageOf(error).split('\n');
    return { problem: first.startsWith('[') ? `${CONFIG_FILE} has a wrong value` : `${CONFIG_FILE}: ${first}` };
  }
}
