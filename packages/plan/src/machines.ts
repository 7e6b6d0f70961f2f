/**
 * Machines that a plan can be made for: machines.json has their figures, from makers' data sheets; add your own there.
 */
import type { Layout } from '@fourfold/process-group';
import { z } from 'zod';
import described from './machines.json' with { type: 'json' };

const figure = z.number().positive();
/** Of one rank's device, and of what joins it to others. Bytes a second are one way. */
const machine = z.strictObject({
  measured: z.boolean().describe('whether runs on it are in bench/results'),
  says: z.string(),
  bfloat16: figure.describe('FLOP/s of dense products with float32 sums'),
  float32: figure,
  memory: figure.describe('bytes'),
  bandwidth: figure.describe('bytes/s to and from it'),
  perNode: z.int().positive().describe('devices that the fast link joins'),
  link: figure.describe('bytes/s of a device in its node'),
  linkLatency: figure.describe('seconds'),
  network: figure.describe('bytes/s of a device to other nodes'),
  networkLatency: figure,
});
/** A kind of machine, as packages/plan/src/machines.json describes it. */
export type Machine = z.infer<typeof machine>;

/** The machines that plans know, by name. */
export const MACHINES: Readonly<Record<string, Machine>> = z.record(z.string(), machine).parse(described);

/** A way between ranks: bytes a second and seconds of a rank. */
export interface Way {
  /** Bytes a second. */
  readonly rate: number;
  /** Seconds that a call takes beside its bytes. */
  readonly latency: number;
}

/**
 * How a rank's group talks. A group within a node uses its link. A ring through several nodes is as fast as the ways
 * out of a node: those of all its members there together, and no faster than the link.
 */
export function wayOf({ link, linkLatency, network, networkLatency }: Machine, size: number, here: number): Way {
  if (size <= here) return { rate: link, latency: linkLatency };
  return { rate: Math.min(link, network * here), latency: networkLatency };
}

/** How many members of each group of rank 0, itself included, are in its node of `perNode` devices. */
export function membersHere({ dp, pp, cp, tp }: Layout, perNode: number) {
  const fit = (stride: number, size: number) => Math.max(1, Math.min(size, Math.floor(perNode / stride)));
  const replicas = fit(tp * cp * pp, dp) * fit(tp, cp);
  return { tp: fit(1, tp), cp: fit(tp, cp), pp: fit(tp * cp, pp), dpCp: replicas };
}
