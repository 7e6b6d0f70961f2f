/** Commands with the names of Slurm's that answer what a test tells them to, and keep what they were asked. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';

/** What a command prints, and its exit code. */
export interface Answer {
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
}

export interface FakeSlurm {
  answer(command: 'sbatch' | 'squeue' | 'sacct', answer: Answer): void;
  /** Each call so far: 'sbatch --parsable job.sh', from which folder. */
  calls(): string[];
}

/** In a folder of its own, before all others on PATH until vi.unstubAllEnvs(). */
export function fakeSlurm(folder: string): FakeSlurm {
  mkdirSync(folder, { recursive: true });
  const log = join(folder, 'calls.txt');
  writeFileSync(log, '');
  const answer: FakeSlurm['answer'] = (command, { stdout = '', stderr = '', code = 0 }) => {
    writeFileSync(join(folder, `${command}.out`), stdout);
    writeFileSync(join(folder, `${command}.err`), stderr);
    const lines = [
      `echo "${command} $*\${SLURM_ARRAY_JOB_ID:+ in an array}" >>calls.txt`,
      `cat ${command}.out`,
      `cat ${command}.err >&2`,
      `exit ${code}`,
    ];
    writeFileSync(join(folder, command), `#!/bin/bash\ncd '${folder}'\n${lines.join('\n')}\n`);
    chmodSync(join(folder, command), 0o755);
  };
  answer('sbatch', { stdout: '41\n' });
  answer('squeue', {});
  answer('sacct', { code: 1, stderr: 'Slurm accounting storage is disabled\n' });
  vi.stubEnv('PATH', `${folder}:${process.env['PATH']}`);
  return { answer, calls: () => readFileSync(log, 'utf8').split('\n').slice(0, -1) };
}
