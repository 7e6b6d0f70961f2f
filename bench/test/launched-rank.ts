/** A rank for the launcher's test: writes what it got, fails if told to, and stays if told to. */
import { writeFileSync } from 'node:fs';
import { runMain } from '@fourfold/cli';
import { inWorld } from '@fourfold/process-group';
import { UserError } from '@fourfold/runtime';

interface Task {
  readonly fails?: 'user' | 'defect';
  /** File for this rank's process number; its rank is added. It then stays for a minute. */
  readonly stays?: string;
}

await runMain(async () => {
  const [, , task = '', file = ''] = process.argv;
  const { fails, stays } = JSON.parse(task) as Task;
  if (fails === 'user') throw new UserError('fails=user: use another');
  await inWorld({}, async ({ rank, size }) => {
    if (fails && rank === 1) throw new Error('rank 1 found a defect');
    if (stays) {
      writeFileSync(`${stays}.${rank}`, String(process.pid));
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    }
    if (rank === 0)
      writeFileSync(file, JSON.stringify({ size, task: JSON.parse(task), threads: process.env['OMP_NUM_THREADS'] }));
  });
});
