/**
 * What goes wrong with a request, as OpenAI's clients expect to hear it: a status, and
 *
 *     {"error": {"message": "...", "type": "invalid_request_error", "param": "temperature", "code": null}}
 *
 *     400   it can't be read, or asks for what there is not        404   no such model, or no such address
 *     401   no key, or another                                     413   too long        415   not JSON
 *     429   too many wait already                                  503   a worker is gone, or the server stops
 *     504   it took longer than a request may                      500   a defect of ours
 *     499   the client went away, and hears nothing
 */
import { RunError, UserError } from '@fourfold/runtime/errors';
import type { z } from 'zod';
import { QueueFull } from '../engine/engine.ts';

export type Status = 400 | 401 | 404 | 413 | 415 | 429 | 499 | 500 | 503 | 504;

interface Details {
  readonly param?: string | null;
  readonly code?: string | null;
}

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: Status;
  readonly param: string | null;
  readonly code: string | null;

  constructor(status: Status, message: string, { param = null, code = null }: Details = {}) {
    super(message);
    this.status = status;
    this.param = param;
    this.code = code;
  }
}

/** The body of an error. */
export function bodyOf({ status, message, param, code }: ApiError) {
  const type = status >= 500 ? 'server_error' : status === 429 ? 'rate_limit_error' : 'invalid_request_error';
  return { error: { message, type, param, code } };
}

/** Whatever was thrown, as what the client hears. A defect's own message may tell of the machine: it stays here. */
export function apiErrorOf(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof QueueFull) return new ApiError(429, error.message, { code: 'queue_full' });
  if (error instanceof UserError) return new ApiError(400, error.message);
  if (error instanceof RunError) return new ApiError(503, error.message, { code: 'decoder_failed' });
  if (error instanceof Error && error.name === 'TimeoutError')
    return new ApiError(504, 'The answer took longer than a request may: ask for fewer tokens', { code: 'timeout' });
  return new ApiError(500, 'The server made a mistake, which its log tells', { code: 'internal_error' });
}

/** Whether the log should tell: a defect, or a decoder that failed. What clients did wrong they hear themselves. */
export const isOurs = (error: unknown): boolean => error instanceof RunError || apiErrorOf(error).status === 500;

/** The first thing that a schema found wrong: "temperature: Too big: expected number to be <=2". */
export function schemaError({ issues }: z.ZodError): ApiError {
  const [issue] = issues;
  const param = issue?.path.join('.') || null;
  const message = issue?.message ?? 'The request is not as it should be';
  return new ApiError(400, param ? `${param}: ${message}` : message, { param });
}
