/**
 * Everything that a run says, in one place: step lines and the bar on the screen, JSON lines, TensorBoard's
 * events, and at the end the curve.
 *
 *     const log = openRunLog({ steps: 500, metrics: 'out.jsonl', curve: 'loss.svg', title: 'micro on moby-dick' })
 *     log.step({ step: 1, loss: 5.55, ... })
 *     log.validation({ step: 100, loss: 2.4, bitsPerByte: 3.46 })
 *     log.close()
 */
import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { duration, type Screen } from '@fourfold/runtime/progress';
import { type CurvePoint, lossCurve } from './curve.ts';
import { openDisplay } from './display.ts';
import { openEvents } from './event-file.ts';
import { openMetrics } from './log.ts';
import { formatStep, type StepFigures } from './step-line.ts';

/** Where a run's figures go. */
export interface RunLogOptions {
  /** Of the loss curve. */
  readonly title: string;
  /** How many steps the run has. */
  readonly steps: number;
  /** Steps that are done already, by the run that this one goes on from (default 0). */
  readonly done?: number;
  /** File for JSON lines. Those of the steps that are done stay. */
  readonly metrics?: string | undefined;
  /** Folder for TensorBoard's event files. */
  readonly tensorboard?: string | undefined;
  /** File for the loss curve. */
  readonly curve?: string | undefined;
  /** Files that others will write later: their folders must be there. */
  readonly later?: readonly (string | undefined)[];
  /** What a loss is counted in: 'nats per byte'. */
  readonly unit?: string;
  /** Default: process.stdout. */
  readonly screen?: Screen;
}

/** What a validation found. */
export interface ValidationFigures {
  /** After so many steps. */
  readonly step: number;
  /** Nats a token. */
  readonly loss: number;
  /** Comparable between tokenizers. */
  readonly bitsPerByte: number;
}

/** A run's open log. */
export interface RunLog {
  /** Prints a line of text. */
  say(line: string): void;
  /** Takes a step's figures: a line on the screen, and a record in each file. */
  step(figures: Omit<StepFigures, 'steps'>): void;
  /** The same of a validation. */
  validation(figures: ValidationFigures): void;
  /** Ends the files and the bar; what was measured so far is in them, however early the run ended. */
  close(): void;
}

/** Opens the files before anything else. Throws UserError for a path that can't be written, and makes no file then. */
export function openRunLog(options: RunLogOptions): RunLog {
  const { title, steps, done = 0, metrics, tensorboard, curve, later = [], unit, screen = process.stdout } = options;
  for (const path of [curve, ...later])
    if (path !== undefined) writing(path, () => accessSync(dirname(path), constants.W_OK));
  const files = [metrics && openMetrics(metrics, { done }), tensorboard && openEvents(tensorboard)].filter(
    (file) => !!file,
  );
  const train: CurvePoint[] = [];
  const validation: CurvePoint[] = [];
  const label = `loss (${unit ?? 'nats per token'})`;
  const draw = () =>
    curve && writing(curve, () => writeFileSync(curve, lossCurve({ title, train, validation, label })));
  draw();
  const start = performance.now();
  let display: ReturnType<typeof openDisplay> | undefined; // from the first step on: its bar tells the time left
  return {
    say: (line) => (display ? display.print(line) : screen.write(`${line}\n`)),
    step(step) {
      display ??= openDisplay({ steps, done: step.step - 1, screen });
      display.print(formatStep({ ...step, steps }));
      display.update(step.step);
      for (const file of files) file.write({ ...step });
      train.push(step);
    },
    validation({ step, loss, bitsPerByte }) {
      this.say(`validation after step ${step}: loss ${loss.toFixed(4)}, ${bitsPerByte.toFixed(3)} bits per byte`);
      for (const file of files) file.write({ step, validationLoss: loss, bitsPerByte });
      validation.push({ step, loss });
    },
    close() {
      display?.close();
      for (const file of files) file.close();
      draw();
      const named = [metrics, tensorboard, curve].filter(Boolean).join(' and ');
      screen.write(`${train.length} steps in ${duration(performance.now() - start)}${named && `; see ${named}`}\n`);
    },
  };
}

/** Does what writing the curve needs; where that fails, a UserError says so. */
function writing(path: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw new UserError(`${path} can't be written (${messageOf(error)}): name a file in a folder that is there`);
  }
}
