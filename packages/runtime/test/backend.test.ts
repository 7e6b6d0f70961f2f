import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type BackendOptions, gpuModel } from '../src/backend.ts';
import { openIn, PRODUCT, TENSORFLOW } from './open-in.ts';

const folder = mkdtempSync(join(tmpdir(), 'fourfold-backend-'));
afterAll(() => rm(folder, { recursive: true }));

test('the first call decides: the same again gives the same, anything else is refused', async () => {
  const asked: BackendOptions[] = [
    { device: 'cpu', threads: 2 },
    { device: 'cpu', threads: 2 },
    { device: 'cpu', threads: 3 },
    { device: 'wasm', threads: 2 },
  ];
  const { opened, engine, product } = await openIn(asked);
  const first = { device: 'cpu', threads: 2, description: `${TENSORFLOW} on 2 CPU threads` };
  const refused = (what: string) => ({
    error: 'UserError',
    message: `${what} can't be opened: this process already uses device cpu with 2 threads`,
  });
  expect(opened).toEqual([first, first, refused('device cpu with 3 threads'), refused('device wasm with 2 threads')]);
  expect({ engine, product }).toEqual({ engine: 'tensorflow', product: PRODUCT });
});

test('wasm needs no TensorFlow and has one thread', async () => {
  const report = await openIn([{ device: 'wasm' }], { env: { FOURFOLD_CACHE: join(folder, 'empty') } });
  expect(report).toMatchObject({ engine: 'wasm', product: PRODUCT, stderr: '' });
  expect(report.opened).toEqual([{ device: 'wasm', threads: 1, description: 'WebAssembly on 1 CPU thread' }]);
});

test('TensorFlow says nothing by itself, and what it has to say with log: true', async () => {
  expect((await openIn([{ device: 'cpu' }])).stderr).toBe('');
  const { opened, stderr } = await openIn([{ device: 'cpu', log: true }]);
  expect(opened).toMatchObject([{ device: 'cpu' }]);
  expect(stderr).toMatch(/oneDNN|TensorFlow/);
});

test('TensorFlow gets as many threads as were asked for', async () => {
  const [one, four] = [await openIn([{ device: 'cpu', threads: 1 }]), await openIn([{ device: 'cpu', threads: 4 }])];
  expect(four.threads - one.threads).toBe(3);
  expect(one.opened).toMatchObject([{ threads: 1, description: `${TENSORFLOW} on 1 CPU thread` }]);
});

test('cuda without a GPU is refused, not replaced; another device can be asked for then', async () => {
  const asked: BackendOptions[] = [{ device: 'cuda' }, { device: 'cpu' }];
  const { opened, product } = await openIn(asked, { env: { CUDA_VISIBLE_DEVICES: '-1' } });
  expect(opened).toMatchObject([{ error: 'UserError' }, { device: 'cpu' }]);
  // Without a driver the first sentence; where there is one, its GPUs are hidden above, and that is the second.
  expect(opened[0]).toHaveProperty(
    'message',
    expect.stringMatching(/^device=cuda( needs an NVIDIA driver|: TensorFlow found no usable GPU).*use .*cpu or wasm$/),
  );
  expect(product).toEqual(PRODUCT);
});

test('where TensorFlow is not set up cpu is refused, and auto is wasm with a note', async () => {
  const reason = `${TENSORFLOW} is not set up (npx nx run runtime:setup does it)`;
  const env = { FOURFOLD_CACHE: join(folder, 'empty') };
  const cpu = await openIn([{ device: 'cpu' }], { env });
  const message = `device=cpu needs TensorFlow, which is not set up: ${reason}`;
  expect(cpu.opened).toEqual([{ error: 'UserError', message }]);
  const { opened, product } = await openIn([{ device: 'auto' }], { env });
  expect(opened).toEqual([{ device: 'wasm', threads: 1, description: 'WebAssembly on 1 CPU thread', note: reason }]);
  expect(product).toEqual(PRODUCT);
});

test("a GPU's model is what the driver writes of it", () => {
  const gpus = (name: string, ...models: string[]): string => {
    for (const [i, model] of models.entries()) {
      const file = join(folder, name, `0000:0${i}:00.0`, 'information');
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, `Model: \t\t ${model}\nIRQ:   \t\t 16\nGPU UUID: \t GPU-0\nVideo BIOS: \t 96.00.99\n`);
    }
    return join(folder, name);
  };
  expect(gpuModel(gpus('one', 'NVIDIA H100 80GB HBM3'))).toBe('NVIDIA H100 80GB HBM3');
  expect(gpuModel(gpus('two', 'NVIDIA L4', 'NVIDIA L4'))).toBe('NVIDIA L4');
  expect(gpuModel(gpus('mixed', 'NVIDIA L4', 'NVIDIA A100-SXM4-80GB'))).toBe('an NVIDIA GPU');
  expect(gpuModel(join(folder, 'none'))).toBe('an NVIDIA GPU');
});
