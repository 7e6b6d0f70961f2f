/**
 * What a token cost, as distributed-llama prints it: a line each, and a table at the end.
 *
 *       9.41 ms  I   7.02 ms  T   2.39 ms  S     67.6 kB  R     67.5 kB  " whale"
 *
 * I, inference: this rank computed. T, transfer: it waited for others, or copied to them. S and R: what it sent and
 * received, in kB of 1024 bytes. With one rank T, S and R are 0.
 */
import type { StepCost } from '../decoder.ts';
import type { StepReport } from '../engine/engine.ts';
import type { RankMemory } from '../memory.ts';

/** How fast a model is; times in milliseconds and bytes at the root, of one generated token. */
export interface Measured {
  readonly promptTokensPerSecond: number;
  readonly tokensPerSecond: number;
  readonly inference: number;
  readonly transfer: number;
  readonly sent: number;
  readonly received: number;
}

const kB = (bytes: number): string => (bytes / 1024).toFixed(1);
const MB = (bytes: number): string => (bytes / 1e6).toFixed(1);

/** The line of one token, or of the steps that led to a piece of several. */
export function lineOf({ total, transfer, sent, received }: StepCost, piece: string): string {
  const ms = (value: number): string => `${value.toFixed(2).padStart(7)} ms`;
  const bytes = (value: number): string => `${kB(value).padStart(8)} kB`;
  const times = `${ms(total)}  I ${ms(total - transfer)}  T ${ms(transfer)}`;
  return `${times}  S ${bytes(sent)}  R ${bytes(received)}  ${JSON.stringify(piece)}`;
}

/** Several steps as one. */
export function sumOf(costs: readonly StepCost[]): StepCost {
  const sum = (key: keyof StepCost): number => costs.reduce((all, cost) => all + cost[key], 0);
  return { total: sum('total'), transfer: sum('transfer'), sent: sum('sent'), received: sum('received') };
}

/** The means of an engine's steps. Steps with rows of the prompt count for it, the others for the answer; 0: none. */
export function measuredOf(reports: readonly StepReport[]): Measured {
  const [prompt, answer] = [true, false].map((isPrompt) => {
    const steps = reports.filter(({ promptRows }) => promptRows > 0 === isPrompt);
    const rows = steps.reduce((all, { promptRows, answerRows }) => all + promptRows + answerRows, 0);
    return { rows, cost: sumOf(steps.map(({ cost }) => cost)) };
  }) as [Part, Part];
  const perToken = (value: number): number => (answer.rows > 0 ? value / answer.rows : 0);
  const rate = ({ rows, cost }: Part): number => (cost.total > 0 ? (1000 * rows) / cost.total : 0);
  const { total, transfer, sent, received } = answer.cost;
  return {
    ...{ promptTokensPerSecond: rate(prompt), tokensPerSecond: rate(answer) },
    ...{ inference: perToken(total - transfer), transfer: perToken(transfer) },
    ...{ sent: perToken(sent), received: perToken(received) },
  };
}

interface Part {
  readonly rows: number;
  readonly cost: StepCost;
}

/** The table at the end; one line of memory for each rank. */
export function tableOf(measured: Measured, memory: readonly RankMemory[]): string {
  const { promptTokensPerSecond, tokensPerSecond, inference, transfer, sent, received } = measured;
  return [
    `prompt       ${promptTokensPerSecond.toFixed(1)} tokens/s`,
    `generation   ${tokensPerSecond.toFixed(1)} tokens/s, ${(inference + transfer).toFixed(2)} ms a token`,
    `inference    ${inference.toFixed(2)} ms a token`,
    `transfer     ${transfer.toFixed(2)} ms a token`,
    `bytes        ${kB(sent)} kB sent, ${kB(received)} kB received a token`,
    ...memory.map(({ weights, caches }, rank) => {
      const all = `${MB(weights + caches)} MB of memory`;
      return `rank ${String(rank).padEnd(8)}${all}: weights ${MB(weights)}, keys and values ${MB(caches)}`;
    }),
  ].join('\n');
}
