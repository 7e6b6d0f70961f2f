import { openBackend, UserError } from '@fourfold/runtime';
import { expect, test } from 'vitest';
import { loadNccl } from '../src/nccl/native.ts';

test('without CUDA it is refused in one sentence', async () => {
  await openBackend({ device: 'cpu', threads: 1 });
  await expect(loadNccl()).rejects.toEqual(
    new UserError('transport=nccl needs device=cuda, but tensors are on cpu: use transport=tcp'),
  );
});
