import { expect, test } from 'vitest';
import { missingCuda, pinsFor, type Wheel } from '../src/setup/wheels.ts';

const pins = pinsFor('cuda', 'linux-x64');
const cuda = pins?.cuda ?? [];
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

test('headers are for CUDA alone, out of small wheels, and those of a library are of its very version', () => {
  expect(pinsFor('cpu', 'linux-x64')?.headers).toEqual([]);
  const headers = pins?.headers ?? [];
  expect(headers).toHaveLength(5);
  expect(headers.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(27e6);
  for (const wheel of headers) expect(wheel.headers.startsWith(wheel.include)).toBe(true);
  const runtime = (wheels: readonly Wheel[]) => wheels.find(({ project }) => project === 'nvidia-cuda-runtime-cu12');
  expect(runtime(headers)?.sha256).toBe(runtime(cuda)?.sha256);
});
