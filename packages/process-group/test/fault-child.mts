/**
 * A rank whose program is on its command line: `fault-child.mts [--device D --meeting S --timeout S] STEP STEP ...`
 *
 *     'allReduce 4' 'barrier'             calls these; every sum is checked
 *     '50 allReduce 1000000'              fifty times
 *     'send 4 1' 'receive 4 0'            four numbers to rank 1, from rank 0
 *     'sleep 2' 'hang' 'throw some words' what can go wrong
 *     'flaky some words'                  throws in the first attempt alone
 *
 * It prints '> start' when it starts to meet the others, '> STEP' when it starts one, and 'done' in the end. An error is its message on stderr; the exit code is 2
 * for what the user can mend, else 1.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openBackend } from '@fourfold/runtime';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { inWorld, type ProcessGroup } from '../src/index.ts';

type Step = (world: ProcessGroup, ...words: string[]) => Promise<unknown>;

/** What every rank brings: its number plus 1, `count` times. Their sum is the same everywhere. */
const numbers = (rank: number, count: string): Tensor => tf.fill([Number(count)], rank + 1);

const steps: Record<string, Step> = {
  async allReduce(world, count = '1') {
    const x = numbers(world.rank, count);
    const sum = await world.allReduce(x);
    await expectAll(sum, (world.size * (world.size + 1)) / 2);
    tf.dispose([x, sum]);
  },
  async reduceScatter(world, count = '1') {
    const sum = await world.reduceScatter(numbers(world.rank, count), 0);
    await expectAll(sum, (world.size * (world.size + 1)) / 2);
  },
  async broadcast(world, count = '1', root = '0') {
    await expectAll(await world.broadcast(numbers(world.rank, count), Number(root)), Number(root) + 1);
  },
  async send(world, count = '1', to = '0') {
    await world.sendReceive([{ send: numbers(world.rank, count), to: Number(to) }]);
  },
  async receive(world, count = '1', from = '0') {
    const like = { shape: [Number(count)], dtype: 'float32' } as const;
    const [received] = await world.sendReceive([{ receiveFrom: Number(from), like }]);
    await expectAll(received as Tensor, Number(from) + 1);
  },
  barrier: (world) => world.barrier(),
  sleep: (_, seconds) => sleep(1000 * Number(seconds)),
  hang: () => sleep(1e9),
  async throw(_, ...words) {
    throw new Error(words.join(' '));
  },
  async flaky(_, ...words) {
    if (process.env['TORCHELASTIC_RESTART_COUNT'] === '0') throw new Error(words.join(' '));
  },
};

async function expectAll(x: Tensor, value: number): Promise<void> {
  const wrong = (await x.data()).findIndex((one) => one !== value);
  if (wrong >= 0) throw new Error(`wrong numbers: ${(await x.data())[wrong]} at ${wrong} instead of ${value}`);
}

async function run(world: ProcessGroup, program: readonly string[]): Promise<void> {
  for (const step of program) {
    const [, times = '1', name = '', rest = ''] = /^(\d+)? ?(\w+) ?(.*)$/.exec(step) ?? [];
    for (let i = 0; i < Number(times); i++) {
      console.log(`> ${step}`);
      await (steps[name] as Step)(world, ...rest.split(' '));
    }
  }
}

const { values, positionals } = parseArgs({
  options: {
    device: { type: 'string', default: 'wasm' }, // the one that opens soonest
    meeting: { type: 'string', default: '20' },
    timeout: { type: 'string', default: '20' },
  },
  allowPositionals: true,
});
try {
  await openBackend({ device: values.device as 'wasm', threads: 1 });
  console.log('> start');
  const limits = { meetingSeconds: Number(values.meeting), timeoutSeconds: Number(values.timeout) };
  await inWorld(limits, (world) => run(world, positionals));
  console.log('done');
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = error instanceof UserError ? 2 : 1; // no process.exit: a rank that failed must end by itself
}
// What it held most, in MB.
process.once('exit', () => console.log(`rss ${Math.round(process.resourceUsage().maxRSS / 1024)}`));
