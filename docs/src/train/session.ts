/**
 * What the page knows of its runs, as it hears of them: a state, and the state after each reply of the worker.
 *
 *     idle -> opening -> running <-> paused            a new layout goes to opening, and keeps the curves
 *                 |         |-> ended
 *                 |-> failed
 */
import { type Choices, labelOf, sameRun } from './choices.ts';
import { type Apart, apart, type Curve } from './curves.ts';
import type { Reply } from './messages.ts';
import type { Lane } from './run.ts';
import type { GroupBytes } from './traffic.ts';

/** A run's curve, with what it was trained by. */
export interface Run extends Curve {
  readonly choices: Choices;
}

export interface Session {
  readonly status: 'idle' | 'opening' | 'running' | 'paused' | 'ended' | 'failed';
  /** The last one is the current one's. */
  readonly runs: readonly Run[];
  readonly backend: string;
  readonly parameters: number;
  /** Of late. */
  readonly tokensPerSecond: number;
  readonly counted: { readonly step: number; readonly groups: readonly GroupBytes[]; readonly lanes: readonly Lane[] };
  readonly sample: { readonly step: number; readonly text: string };
  readonly validation: number | undefined;
  readonly message: string;
}

export const EMPTY: Session = {
  status: 'idle',
  runs: [],
  backend: '',
  parameters: 0,
  tokensPerSecond: 0,
  counted: { step: 0, groups: [], lanes: [] },
  sample: { step: 0, text: '' },
  validation: undefined,
  message: '',
};

/** As many curves can be told apart. */
const MOST_RUNS = 4;

/** A run begins. Earlier ones that took a step stay, to be compared with. */
export function begun({ runs, backend }: Session, choices: Choices): Session {
  const kept = runs.filter(({ losses }) => losses.length > 0).slice(1 - MOST_RUNS);
  return { ...EMPTY, backend, status: 'opening', runs: [...kept, { choices, label: labelOf(choices), losses: [] }] };
}

/** The state after a reply. */
export function heard(session: Session, reply: Reply): Session {
  switch (reply.kind) {
    case 'opened':
      return { ...session, backend: reply.backend };
    case 'begun':
      return { ...session, status: session.status === 'paused' ? 'paused' : 'running', parameters: reply.parameters };
    case 'step':
      return { ...stepped(session, reply.loss), tokensPerSecond: smoothed(session.tokensPerSecond, reply) };
    case 'counted':
      return { ...session, counted: reply };
    case 'said':
      return { ...session, sample: reply };
    case 'ended':
      return { ...session, status: 'ended', validation: reply.validation };
    case 'failed':
      return { ...session, status: 'failed', message: reply.message };
  }
}

function stepped(session: Session, loss: number): Session {
  const current = session.runs.at(-1);
  if (!current) return session;
  return { ...session, runs: [...session.runs.slice(0, -1), { ...current, losses: [...current.losses, loss] }] };
}

/** The mean of some ten steps, the last ones counting most. */
const smoothed = (before: number, { tokensPerSecond: now }: { tokensPerSecond: number }): number =>
  before === 0 ? now : before + (now - before) / 10;

export interface Comparison extends Apart {
  readonly with: string;
}

/** The current run beside the last one before it that differs in layout alone, if there is one. */
export function comparison({ runs }: Session): Comparison | undefined {
  const current = runs.at(-1);
  const other = current && runs.slice(0, -1).findLast(({ choices }) => sameRun(choices, current.choices));
  return current && other && { ...apart(other, current), with: other.label };
}
