/**
 * What /metrics tells Prometheus: requests, tokens, the queue, and where the time goes.
 *
 *     fourfold_requests_total{route, status}          fourfold_time_to_first_token_seconds
 *     fourfold_prompt_tokens_total                    fourfold_answer_tokens_per_second
 *     fourfold_cached_tokens_total                    fourfold_step_seconds
 *     fourfold_answer_tokens_total                    fourfold_transfer_seconds
 *     fourfold_requests_running, _waiting             fourfold_bytes_total{direction}
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { StepReport } from '../engine/engine.ts';

export interface Metrics {
  readonly registry: Registry;
  onStep(report: StepReport): void;
  onRequest(route: string, status: number): void;
  onFirstToken(seconds: number): void;
  onAnswer(tokens: number, seconds: number): void;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const RATES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/** A registry of its own, so that several servers of one process don't mix. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `fourfold_${name}_total`, help, labelNames, registers });
  const gauge = (name: string, help: string) => new Gauge({ name: `fourfold_${name}`, help, registers });
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `fourfold_${name}`, help, buckets, registers });

  const requests = counter('requests', 'Requests answered', ['route', 'status']);
  const promptTokens = counter('prompt_tokens', 'Prompt tokens computed');
  const cachedTokens = counter('cached_tokens', 'Prompt tokens found in the cache');
  const answerTokens = counter('answer_tokens', 'Tokens of answers computed');
  const bytes = counter('bytes', 'Bytes between the root and its workers', ['direction']);
  const running = gauge('requests_running', 'Requests that have a slot');
  const waiting = gauge('requests_waiting', 'Requests that wait for a slot');
  const step = histogram('step_seconds', 'Time of a step', SECONDS);
  const transfer = histogram('transfer_seconds', 'Time of a step in which the root waited for others', SECONDS);
  const first = histogram('time_to_first_token_seconds', 'From a request to its first token', SECONDS);
  const rate = histogram('answer_tokens_per_second', 'Tokens a second of an answer after its first', RATES);
  return {
    registry,
    onStep({ promptRows, answerRows, reused, cost, ...queue }) {
      promptTokens.inc(promptRows);
      answerTokens.inc(answerRows);
      cachedTokens.inc(reused);
      running.set(queue.running);
      waiting.set(queue.waiting);
      step.observe(cost.total / 1000);
      transfer.observe(cost.transfer / 1000);
      bytes.inc({ direction: 'sent' }, cost.sent);
      bytes.inc({ direction: 'received' }, cost.received);
    },
    onRequest: (route, status) => requests.inc({ route, status: String(status) }),
    onFirstToken: (seconds) => first.observe(seconds),
    onAnswer: (tokens, seconds) => (tokens > 1 && seconds > 0 ? rate.observe((tokens - 1) / seconds) : undefined),
  };
}
