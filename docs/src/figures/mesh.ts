/**
 * The figure of the mesh: ranks in four dimensions, and whom each of them talks to about what.
 *
 * The groups are those that process-group's createMesh makes on ranks of the local transport.
 */
import { createMesh, type Layout, rankCount, spmd } from '@fourfold/process-group';

export const DIMENSIONS = ['dp', 'pp', 'cp', 'tp'] as const;
export type Dimension = (typeof DIMENSIONS)[number];

export interface MeshRank {
  readonly rank: number;
  /** Its place. */
  readonly place: Layout;
  /** Ranks of its group along each dimension, itself among them. */
  readonly groups: Readonly<Record<Dimension, readonly number[]>>;
}

/** What a group exchanges, and when. */
export const PURPOSES: Readonly<Record<Dimension, string>> = {
  dp: 'gradients, once a step',
  pp: 'activations between stages, once a micro-batch',
  cp: 'keys and values, round a ring in each layer',
  tp: 'partial sums, several times a layer',
};

/** Every rank of the mesh, as it sees itself. */
export const meshFigure = (layout: Layout): Promise<MeshRank[]> =>
  spmd(rankCount(layout), async (world) => {
    const { dp, pp, cp, tp, coordinates } = await createMesh(world, layout);
    return {
      rank: world.rank,
      place: coordinates,
      groups: { dp: dp.ranks, pp: pp.ranks, cp: cp.ranks, tp: tp.ranks },
    };
  });

/** In which of the dimensions two ranks share a group. */
export const sharedBy = (one: MeshRank, other: number): Dimension[] =>
  DIMENSIONS.filter((dimension) => one.rank !== other && one.groups[dimension].includes(other));

export function meshSummary({ rank, place, groups }: MeshRank): string {
  const talks = DIMENSIONS.filter((dimension) => groups[dimension].length > 1).map((dimension) => {
    const others = groups[dimension].filter((other) => other !== rank);
    return `${dimension} with ${others.join(', ')} (${PURPOSES[dimension]})`;
  });
  const where = DIMENSIONS.map((dimension) => `${dimension}${place[dimension]}`).join(' ');
  return `Rank ${rank} is ${where}. ${talks.length > 0 ? `It shares ${talks.join('; ')}.` : 'It is alone.'}`;
}
