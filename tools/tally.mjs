/**
 * Counts what `npm test` ran: nx's tasks and the tests in vitest's reports.
 *
 * A task is { projectName, target, status }, status being its exit code. A result is { name, passed, failures }, with a
 * sentence for each failure. Lint and typecheck tasks are one check each. A test task is its tests, and one failure
 * more where vitest failed without a failed test: a file that doesn't load, an error outside every test, no report.
 */

/** What a test task came to, by its exit code and by vitest's JSON report. */
function tallyTests(status, report) {
  if (!report) return { passed: 0, failures: ['vitest left no report'] };
  const files = report.testResults;
  const tests = files.flatMap((file) => file.assertionResults);
  const count = (status) => tests.filter((test) => test.status === status).length;
  const failures = tests.filter((test) => test.status === 'failed').map((test) => test.fullName);
  for (const file of files) {
    const broken = file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed');
    if (broken) failures.push(`${file.name}: ${file.message.split('\n')[0] || 'does not load'}`);
  }
  if (status !== 0 && failures.length === 0) failures.push(`vitest ended with exit code ${status}`);
  const passed = count('passed');
  return { passed, failures, skipped: tests.length - passed - count('failed') };
}

/** One result for each task of nx. */
export function tally(tasks, reportOf) {
  return tasks.map(({ taskId, projectName, target, status }) => {
    const name = projectName ? `${projectName}:${target}` : taskId;
    if (target === 'test' || target === 'proof') return { name, ...tallyTests(status, reportOf(projectName, target)) };
    return { name, passed: status === 0 ? 1 : 0, failures: status === 0 ? [] : [`exit code ${status}`] };
  });
}

const sum = (results, count) => results.reduce((total, result) => total + count(result), 0);

const isCheck = ({ name }) => !/:(test|proof)$/.test(name);

/** A line for a test task, and one for each failure. */
function describe(result) {
  const { name, passed, failures, skipped } = result;
  const lines = failures.map((failure) => `  FAILED ${name}: ${failure}`);
  if (isCheck(result)) return lines;
  return [
    `  ${name.padEnd(24)} ${passed} passed, ${failures.length} failed${skipped ? `, ${skipped} skipped` : ''}`,
    ...lines,
  ];
}

/** The lines of the summary: the checks, each test task, and last of all `N passed, N failed`. */
export function summarize(results) {
  const checks = results.filter(isCheck);
  const clean = sum(checks, (result) => result.passed);
  const passed = sum(results, (result) => result.passed);
  const failed = sum(results, (result) => result.failures.length);
  return [
    '',
    'Summary',
    `  ${'lint, typecheck'.padEnd(24)} ${clean} passed, ${checks.length - clean} failed`,
    ...results.flatMap(describe),
    '',
    `${passed} passed, ${failed} failed`,
  ];
}
