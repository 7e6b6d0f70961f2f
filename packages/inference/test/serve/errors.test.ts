import { RunError, UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { QueueFull } from '../../src/engine/engine.ts';
import { ApiError, apiErrorOf, bodyOf, isOurs, schemaError } from '../../src/serve/errors.ts';

const late = (): unknown => {
  const error = new Error('too late');
  error.name = 'TimeoutError';
  return error;
};

test.each([
  [new UserError('The prompt is too long'), 400, 'invalid_request_error', 'The prompt is too long', false],
  [new QueueFull('64 wait'), 429, 'rate_limit_error', '64 wait', false],
  [new RunError('worker b is gone'), 503, 'server_error', 'worker b is gone', true],
  [late(), 504, 'server_error', 'The answer took longer than a request may: ask for fewer tokens', false],
  [new ApiError(404, 'no such model'), 404, 'invalid_request_error', 'no such model', false],
  [new TypeError('x is undefined in /home/me/secret.ts'), 500, 'server_error', expect.any(String), true],
  ['a string', 500, 'server_error', expect.any(String), true],
])('%s: status %i', (thrown, status, type, message, ours) => {
  const error = apiErrorOf(thrown);
  expect([error.status, bodyOf(error).error]).toMatchObject([status, { type, message }]);
  expect(isOurs(thrown)).toBe(ours);
});

test("a defect's own words stay on the server", () => {
  expect(JSON.stringify(bodyOf(apiErrorOf(new Error('/home/me/secret.ts'))))).not.toContain('secret');
});

test('a schema tells what is wrong first, and of what', () => {
  const { error } = z.object({ a: z.object({ b: z.number() }) }).safeParse({ a: { b: 'x' } });
  expect(schemaError(error as z.ZodError)).toMatchObject({
    ...{ status: 400, param: 'a.b', message: 'a.b: Invalid input: expected number, received string' },
  });
});
