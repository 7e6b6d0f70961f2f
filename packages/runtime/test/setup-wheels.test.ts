import { expect, test } from 'vitest';
import { missingCuda, pinsFor } from '../src/setup/wheels.ts';

const cuda = pinsFor('cuda', 'linux-x64')?.cuda ?? [];
const names = (wheels: typeof cuda) => wheels.map((wheel) => wheel.folder);

test('a system without CUDA libraries takes all eleven wheels', () => {
  expect(names(missingCuda(cuda, () => false))).toEqual([
    ...['cuda_runtime', 'nvjitlink', 'cuda_nvrtc', 'cuda_cupti', 'cublas', 'cufft', 'curand', 'cusparse', 'cusolver'],
    ...['cudnn', 'nccl'],
  ]);
});

test('a system with a part of the toolkit takes the whole toolkit from wheels, but keeps its cuDNN', () => {
  const system = ['libcudart.so.12', 'libcudnn.so.9'];
  expect(names(missingCuda(cuda, (soname) => system.includes(soname)))).toEqual([
    ...['cuda_runtime', 'nvjitlink', 'cuda_nvrtc', 'cuda_cupti', 'cublas', 'cufft', 'curand', 'cusparse', 'cusolver'],
    'nccl',
  ]);
});

test('a system with the toolkit takes only what it lacks beside it', () => {
  expect(names(missingCuda(cuda, (soname) => !/nccl|cudnn/.test(soname)))).toEqual(['cudnn', 'nccl']);
  expect(missingCuda(cuda, () => true)).toEqual([]);
});

test('each platform takes its own wheels, and the CPU takes none of NVIDIA', () => {
  expect(pinsFor('cpu', 'linux-x64')?.tensorflow.project).toBe('tensorflow-cpu');
  expect(pinsFor('cpu', 'linux-arm64')?.tensorflow.file).toMatch(/aarch64/);
  expect(pinsFor('cpu', 'darwin-arm64')?.cuda).toEqual([]);
  expect(pinsFor('cpu', 'darwin-x64')).toBe(undefined);
  expect(pinsFor('cuda', 'linux-arm64')).toBe(undefined);
});
