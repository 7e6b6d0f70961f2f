/** The module for NCCL, compiled and loaded where there need be no GPU. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { compileModule, modulesFor } from '../src/setup/compile.ts';
import { findTensorflow } from '../src/setup/index.ts';
import { findCompiler } from '../src/setup/look.ts';
import { pinsFor } from '../src/setup/wheels.ts';

test("it compiles without CUDA's headers, loads, and tells NCCL's version or that it is missing", async () => {
  const found = await findTensorflow({ variant: 'cpu' });
  const pins = pinsFor('cuda', 'linux-x64');
  if ('reason' in found || !pins) throw new Error('TensorFlow is not set up');
  const { nccl } = await modulesFor(pins);
  if (!nccl) throw new Error('there is no such module');
  const home = mkdtempSync(join(tmpdir(), 'fourfold-nccl-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  symlinkSync(dirname(found.include), join(home, 'tensorflow'));
  mkdirSync(join(home, 'staging'));
  const { command } = await findCompiler();
  await compileModule({ ...nccl, flags: [...nccl.flags, '-O0'] }, command, join(home, 'staging'), home);

  const script = `
    const native = require(process.argv[1]);
    const calls = [() => native.version(), () => native.wait(0, 'soon'), () => native.join(new Uint8Array(5), 2, 0, 1),
      () => native.ticket(0, 3), () => native.close(0, 'no'), () => native.startTiming(0), () => native.wait(0, 1)];
    for (const run of calls)
      try { console.log(run()); } catch (error) { console.log(error.message); }`;
  const output = execFileSync(process.execPath, ['-e', script, join(home, nccl.file)], { encoding: 'utf8' });
  const [version, ...sentences] = output.trimEnd().split('\n');
  expect(version).toMatch(/^(\d+\.\d+\.\d+|libnccl\.so\.2 can't be opened: .+)$/);
  expect(sentences.slice(0, 5)).toEqual([
    'a number is needed',
    '128 bytes are needed',
    'a text is needed',
    'true or false is needed',
    'a mark is needed, from which times count',
  ]);
  expect(sentences[5]).toMatch(/^(libcuda\.so\.1 can't be opened: .+|CUDA says of .+|there is no communicator 0)$/);
});
