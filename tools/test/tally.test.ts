import { expect, test } from 'vitest';
import { summarize, tally } from '../tally.mjs';

const task = (projectName: string, target: string, status = 0) => ({
  taskId: `${projectName}:${target}`,
  projectName,
  target,
  status,
});
const file = (status: string, ...statuses: string[]) => ({
  name: 'test/a.test.ts',
  status,
  message: status === 'failed' ? 'Cannot find module\nat line 1' : '',
  assertionResults: statuses.map((status, i) => ({ status, fullName: `test ${i}` })),
});

test('each test counts, and each lint and typecheck task counts once', () => {
  const report = { testResults: [file('passed', 'passed', 'passed'), file('passed', 'passed', 'skipped')] };
  const results = tally([task('ops', 'lint'), task('ops', 'typecheck'), task('ops', 'test')], () => report);
  expect(summarize(results)).toEqual([
    '',
    'Summary',
    '  lint, typecheck          2 passed, 0 failed',
    '  ops:test                 3 passed, 0 failed, 1 skipped',
    '',
    '5 passed, 0 failed',
  ]);
});

test('failed tests and failed checks are named, and the last line counts them', () => {
  const reports: Record<string, object> = {
    ops: { testResults: [file('failed', 'passed', 'failed')] },
    cli: { testResults: [file('passed', 'passed')] },
  };
  const tasks = [task('ops', 'lint', 1), task('ops', 'test', 1), task('cli', 'test')];
  expect(summarize(tally(tasks, (project: string) => reports[project]))).toEqual([
    '',
    'Summary',
    '  lint, typecheck          0 passed, 1 failed',
    '  FAILED ops:lint: exit code 1',
    '  ops:test                 1 passed, 1 failed',
    '  FAILED ops:test: test 1',
    '  cli:test                 1 passed, 0 failed',
    '',
    '2 passed, 2 failed',
  ]);
});

test.each([
  ['a file that does not load', { testResults: [file('failed')] }, 'test/a.test.ts: Cannot find module'],
  ['an error outside every test', { testResults: [file('passed', 'passed')] }, 'vitest ended with exit code 1'],
  ['no test files', { testResults: [] }, 'vitest ended with exit code 1'],
  ['no report', undefined, 'vitest left no report'],
])('%s is one failure', (_, report, failure) => {
  const [result] = tally([task('ops', 'test', 1)], () => report);
  expect(result?.failures).toEqual([failure]);
});

test('a report must be there even where nx says that the task passed', () => {
  expect(tally([task('ops', 'test', 0)], () => undefined)[0]?.failures).toEqual(['vitest left no report']);
});

test('a run that nx could not record is one failure', () => {
  const tasks = [{ taskId: 'nx run-many --targets=test', status: 1 }];
  expect(summarize(tally(tasks, () => undefined)).at(-1)).toBe('0 passed, 1 failed');
});
