import { expect, test } from 'vitest';
import { launching, start } from './launch-command.ts';

test('after a failure all start again, at another port and with another secret', async () => {
  const { code, stdout, stderr } = await start(launching(2, 'flaky 1', ['--max-restarts', '3'])).ended;
  expect(code).toBe(0);
  expect(stderr.match(/attempt.*/g)).toEqual(['attempt 2 of 4']);
  const meetings = new Set(stdout.match(/port.*/g));
  expect(meetings.size).toBe(2); // one for each attempt, the same for both ranks
});

test('restarts come to an end, and a mistake of the user is not tried again', async () => {
  const [tired, mistaken] = await Promise.all([
    start(launching(1, 'exit 0 7', ['--max-restarts', '1'])).ended,
    start(launching(1, 'exit 0 2', ['--max-restarts', '1'])).ended,
  ]);
  expect(tired).toMatchObject({
    code: 7,
    stderr: 'rank 0 exited with code 7\nattempt 2 of 2\nrank 0 exited with code 7\n',
  });
  expect(mistaken).toMatchObject({ code: 2, stderr: 'rank 0 exited with code 2\n' });
});
