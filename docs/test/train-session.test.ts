import { expect, test } from 'vitest';
import { FIRST } from '../src/train/choices.ts';
import type { Reply } from '../src/train/messages.ts';
import { begun, comparison, EMPTY, heard, type Session } from '../src/train/session.ts';

const step = (number: number, loss: number): Reply => ({ kind: 'step', step: number, loss, tokensPerSecond: 100 });
const after = (session: Session, ...replies: Reply[]) => replies.reduce(heard, session);
const opening: Reply[] = [
  { kind: 'opened', backend: 'WebAssembly on 1 thread' },
  { kind: 'begun', parameters: 7, tokens: 8 },
];

test('a run from its beginning to its end', () => {
  const idle = begun(EMPTY, FIRST);
  expect(idle.status).toBe('opening');
  const running = after(idle, ...opening, step(1, 5.5), step(2, 5.25));
  expect(running).toMatchObject({ status: 'running', backend: 'WebAssembly on 1 thread', parameters: 7 });
  expect([running.tokensPerSecond, running.runs[0]?.losses]).toEqual([100, [5.5, 5.25]]);
  const counted: Reply = { kind: 'counted', step: 2, groups: [], lanes: [] };
  const ended = after(running, counted, { kind: 'said', step: 2, text: 'The' }, { kind: 'ended', validation: 3 });
  expect(ended).toMatchObject({ status: 'ended', validation: 3, sample: { step: 2, text: 'The' }, counted });
});

test('a failure has its words; a pause while it opens stays a pause', () => {
  const failed = after(begun(EMPTY, FIRST), { kind: 'failed', message: 'no text' });
  expect(failed).toMatchObject({ status: 'failed', message: 'no text' });
  expect(after({ ...begun(EMPTY, FIRST), status: 'paused' }, ...opening).status).toBe('paused');
});

test('a new layout is compared with the last one of the same run', () => {
  const first = after(begun(EMPTY, FIRST), ...opening, step(1, 5), step(2, 4));
  expect(comparison(first)).toBeUndefined();
  const second = after(begun(first, { ...FIRST, tp: 1 }), ...opening, step(1, 5));
  expect(comparison(second)).toMatchObject({ steps: 1, relative: 0, with: first.runs[0]?.label });
  const other = after(begun(second, { ...FIRST, learningRate: 1e-3 }), ...opening, step(1, 5));
  expect(comparison(other)).toBeUndefined();
});

test('curves without a step are dropped, and of the others the last four are kept', () => {
  let session = begun(begun(EMPTY, FIRST), FIRST);
  expect(session.runs).toHaveLength(1);
  for (let i = 0; i < 6; i++) session = begun(after(session, step(1, i)), FIRST);
  expect(session.runs.map(({ losses }) => losses[0])).toEqual([3, 4, 5, undefined]);
});
