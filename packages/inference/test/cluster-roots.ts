/** Roots of this process, and workers that are processes of their own and go when a test has ended. */
import { openBackend } from '@fourfold/runtime';
import { afterEach, beforeAll } from 'vitest';
import type { RootOptions } from '../src/cluster/root.ts';
import { fourfoldVersion } from '../src/cluster/secret.ts';
import type { Decoder, Row } from '../src/decoder.ts';
import { chooseOptions } from '../src/load.ts';
import { SECRET, startWorkerProcess, type WorkerProcess } from './cluster-processes.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

beforeAll(async () => {
  await openBackend({ device: 'cpu', threads: 1 });
});

export const opened: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.stop()));
});

export async function workers(count: number, ...flags: string[]): Promise<WorkerProcess[]> {
  const started = await Promise.all(Array.from({ length: count }, () => startWorkerProcess(...flags)));
  opened.push(...started);
  return started;
}

export const lines: string[] = [];
export function rootOf(started: readonly WorkerProcess[], more: Partial<RootOptions> = {}): RootOptions {
  const model = tinyModel(TINY_WIDE);
  return {
    ...{ version: fourfoldVersion(), secret: SECRET, model, sharing: chooseOptions(model, { slots: 2 }) },
    ...{ workers: started.map(({ address }) => address), transfers: 'float32', timeoutMs: 20_000 },
    log: (line) => lines.push(line),
    ...more,
  };
}

/** A prompt of three tokens, and then the likeliest token five times. */
export async function write(decoder: Decoder): Promise<number[]> {
  const prompt = [5, 77, 290].map((token, position): Row => ({ token, slot: 1, position, wanted: 'nothing' }));
  let [logits] = await decoder.step([...prompt.slice(0, 2), { ...(prompt[2] as Row), wanted: 3 }]);
  const tokens: number[] = [];
  for (let position = 3; position < 8; position++) {
    const token = logits?.ids?.[0] ?? -1;
    tokens.push(token);
    [logits] = await decoder.step([{ token, slot: 1, position, wanted: position === 7 ? 'all' : 3 }]);
  }
  return [...tokens, logits?.values.length ?? 0];
}
