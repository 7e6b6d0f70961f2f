import { expect, test } from 'vitest';
import { createMetrics } from '../../src/serve/metrics.ts';

test('what steps and requests report is what Prometheus reads', async () => {
  const metrics = createMetrics();
  const cost = { total: 250, transfer: 50, sent: 1000, received: 2000 };
  const report = { promptRows: 7, answerRows: 2, running: 3, waiting: 4, reused: 5, cost };
  metrics.onStep(report);
  metrics.onStep({ ...report, running: 1, waiting: 0 });
  metrics.onRequest('/v1/models', 200);
  metrics.onFirstToken(0.2);
  metrics.onAnswer(11, 2);
  metrics.onAnswer(1, 0); // one token has no rate
  const text = await metrics.registry.metrics();
  for (const line of [
    'fourfold_prompt_tokens_total 14',
    'fourfold_answer_tokens_total 4',
    'fourfold_cached_tokens_total 10',
    'fourfold_requests_running 1',
    'fourfold_requests_waiting 0',
    'fourfold_bytes_total{direction="sent"} 2000',
    'fourfold_bytes_total{direction="received"} 4000',
    'fourfold_step_seconds_sum 0.5',
    'fourfold_transfer_seconds_sum 0.1',
    'fourfold_requests_total{route="/v1/models",status="200"} 1',
    'fourfold_time_to_first_token_seconds_bucket{le="0.25"} 1',
    'fourfold_answer_tokens_per_second_sum 5',
    'fourfold_answer_tokens_per_second_count 1',
  ])
    expect(text.split('\n')).toContain(line);
});

test('two servers of one process count apart', async () => {
  const [one, other] = [createMetrics(), createMetrics()];
  one.onRequest('/v1/models', 200);
  expect(await other.registry.metrics()).not.toContain('fourfold_requests_total{');
});
