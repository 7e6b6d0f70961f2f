/**
 * Slurm itself, on this machine: a controller and two nodes of it, in a folder of their own, for as long as a test.
 *
 *     apt-get install slurm-wlm munge
 *
 * The two nodes are two daemons on one host, each with ports, cores and memory of its own. Jobs' memory is limited by
 * the kernel (cgroups) where its older interface is there, and else by Slurm, which looks once a second.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '@fourfold/process-group/machine';

const NODES = ['node1', 'node2'];
const hasCgroups = existsSync('/sys/fs/cgroup/memory');

/** Why there can be no Slurm here; undefined where there can. */
export function whyNoSlurm(): string | undefined {
  if (process.getuid?.() !== 0) return "Slurm's daemons need root";
  try {
    for (const command of ['munged', 'slurmctld', 'slurmd']) execFileSync('which', [command], { stdio: 'pipe' });
    return undefined;
  } catch {
    return 'Slurm is not installed: apt-get install slurm-wlm munge';
  }
}

export interface SlurmCluster {
  /** For SLURM_CONF. */
  readonly config: string;
  /** Ends the daemons and their jobs. */
  stop(): Promise<void>;
}

export async function startSlurm(): Promise<SlurmCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'fourfold-slurm-'));
  const at = (name: string): string => join(folder, name);
  for (const name of ['state', 'spool']) mkdirSync(at(name));
  for (const gpu of ['gpu0', 'gpu1']) execFileSync('mknod', [at(gpu), 'c', '1', '3']); // devices, as far as Slurm looks
  writeFileSync(at('munge.key'), randomBytes(1024), { mode: 0o400 });
  const ports = [await freePort(), await freePort(), await freePort()];
  writeFileSync(at('slurm.conf'), config(folder, ports));
  writeFileSync(at('gres.conf'), `NodeName=node[1-2] Name=gpu File=${at('gpu[0-1]')}\n`);
  writeFileSync(at('cgroup.conf'), 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\n');
  const start = (command: string, ...flags: string[]) => execFileSync(command, flags, { stdio: 'pipe' });
  const munge = Object.entries({ 'key-file': 'key', socket: 'sock', 'log-file': 'log', 'seed-file': 'seed' });
  const pids = ['munge.pid', 'slurmctld.pid', ...NODES.map((node) => `${node}.pid`)];
  const stop = async (): Promise<void> => {
    for (const pid of pids.toReversed()) await end(at(pid));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const flags = munge.map(([flag, name]) => `--${flag}=${at(`munge.${name}`)}`);
    start('munged', '--force', `--pid-file=${at('munge.pid')}`, ...flags);
    start('slurmctld', '-f', at('slurm.conf'));
    for (const node of NODES) start('slurmd', '-N', node, '-f', at('slurm.conf'));
    await nodesAreIdle(at('slurm.conf'));
    return { config: at('slurm.conf'), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const config = (folder: string, [controller, node1, node2]: readonly (number | undefined)[]): string => `
ClusterName=fourfold
SlurmctldHost=${hostname()}(127.0.0.1)
SlurmctldPort=${controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${folder}/munge.sock
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool/%n
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/%n.pid
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/${hasCgroups ? 'cgroup' : 'none'}
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
${hasCgroups ? '' : 'JobAcctGatherParams=OverMemoryKill'}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MpiDefault=none
KillWait=5
GresTypes=gpu
NodeName=node1 NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${node1} CPUs=2 RealMemory=4000 Gres=gpu:2
NodeName=node2 NodeHostname=${hostname()} NodeAddr=127.0.0.1 Port=${node2} CPUs=2 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
`;

async function nodesAreIdle(path: string): Promise<void> {
  const env = { ...process.env, SLURM_CONF: path };
  for (let tries = 0; tries < 100; tries++) {
    const said = execFileSync('sinfo', ['-h', '-t', 'idle', '-o', '%D'], { encoding: 'utf8', env, stdio: 'pipe' });
    if (said.trim() === String(NODES.length)) return;
    await sleep(200);
  }
  throw new Error(`Slurm's nodes did not come up:\n${execFileSync('sinfo', { encoding: 'utf8', env })}`);
}

/** Ends the daemon of a pid file, and waits until it has gone. */
async function end(pidFile: string): Promise<void> {
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, 'utf8'));
  for (let tries = 0; tries < 100; tries++) {
    try {
      process.kill(pid, tries === 0 ? 'SIGTERM' : 0);
    } catch {
      return;
    }
    await sleep(100);
  }
  process.kill(pid, 'SIGKILL');
}
