/**
 * `npx fourfold metrics DIR`: what came of all runs below a folder, as a table, and as one CSV file with more columns.
 *
 *     npx fourfold metrics runs --warmUp 5
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatBytes, formatCount } from '@fourfold/metrics';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { stringify } from 'csv-stringify/sync';
import { z } from 'zod';
import { table } from '../table.ts';
import { readWords } from '../words.ts';
import { gatherRuns, type Run } from './gather.ts';

const schema = z.object({
  warmUp: z.int().nonnegative().default(3).describe('first steps of a run that its medians leave out'),
  csv: z.string().optional().describe('the file to write; default: metrics.csv in the folder'),
});

/** The CSV file's columns, in order. */
const COLUMNS: Readonly<Record<string, (run: Run) => string | number | boolean | undefined>> = {
  run: ({ name }) => name,
  status: ({ status }) => status,
  model: ({ config }) => config?.model,
  dp: ({ config }) => config?.dp,
  pp: ({ config }) => config?.pp,
  cp: ({ config }) => config?.cp,
  tp: ({ config }) => config?.tp,
  zero: ({ config }) => config && String(config.zero),
  precision: ({ config }) => config?.precision,
  micro_batch_size: ({ config }) => config?.microBatchSize,
  grad_acc_steps: ({ config }) => config?.gradAccSteps,
  seq_length: ({ config }) => config?.seqLength,
  devices: ({ devices }) => devices,
  step: ({ step }) => step,
  steps: ({ config }) => config?.steps,
  loss: ({ loss }) => loss,
  validation_loss: ({ validationLoss }) => validationLoss,
  median_step_ms: ({ milliseconds }) => milliseconds,
  median_tokens_s: ({ tokensPerSecond }) => tokensPerSecond,
  median_tokens_s_device: ({ tokensPerSecondPerDevice }) => tokensPerSecondPerDevice,
  median_mfu: ({ mfu }) => mfu,
  peak_memory_bytes: ({ memoryBytes }) => memoryBytes,
  note: ({ note }) => note,
};

/** Runs the command of these words. */
export async function metrics(argv: readonly string[]): Promise<void> {
  const usage = 'Gathers the figures of all runs below a folder.';
  const { words, settings } = readWords({ name: 'npx fourfold metrics', words: 'DIR', usage, schema, argv });
  const [root = '', ...more] = words;
  if (more.length > 0)
    throw new UserError(`metrics takes one folder, and ${more.join(', ')} is more: name one above all`);
  const runs = gatherRuns(root, settings.warmUp);
  const path = settings.csv ?? join(root, 'metrics.csv');
  try {
    writeFileSync(path, csvOf(runs));
  } catch (error) {
    throw new UserError(`--csv ${path} can't be written (${messageOf(error)}): name a file in a folder that is there`);
  }
  console.log(`${tableOf(runs)}\n${runs.length} run${runs.length === 1 ? '' : 's'}, in ${path}`);
}

export const csvOf = (runs: readonly Run[]): string =>
  stringify([Object.keys(COLUMNS), ...runs.map((run) => Object.values(COLUMNS).map((of) => of(run)))]);

export const tableOf = (runs: readonly Run[]): string =>
  table([
    ['run', 'status', 'layout', 'steps', 'loss', 'validation', 'tok/s/GPU', 'mfu', 'memory', ''],
    ...runs.map(row),
  ]);

function row(run: Run): string[] {
  const { name, status, config, step, loss, validationLoss, tokensPerSecondPerDevice: speed, mfu, memoryBytes } = run;
  const sizes = (['dp', 'pp', 'cp', 'tp'] as const).filter((key) => (config?.[key] ?? 1) > 1);
  return [
    name,
    status,
    config ? sizes.map((key) => `${key}${config[key]}`).join(' ') || 'one rank' : '',
    config ? `${step ?? 0}/${config.steps}` : String(step ?? ''),
    loss?.toFixed(4) ?? '',
    validationLoss?.toFixed(4) ?? '',
    speed === undefined ? '' : formatCount(speed),
    mfu === undefined ? '' : `${(100 * mfu).toFixed(1)}%`,
    memoryBytes === undefined ? '' : formatBytes(memoryBytes),
    run.note,
  ];
}
