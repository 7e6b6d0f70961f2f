/**
 * The mesh: ranks in four dimensions, and the groups that each dimension makes.
 *
 *     rank = ((dp · PP + pp) · CP + cp) · TP + tp          tp fastest, then cp, pp, dp
 *
 *     dp=2 x pp=1 x cp=1 x tp=2                  tp groups: {0 1} {2 3}    what one layer exchanges, many times a step
 *       dp0   rank 0 (tp0)   rank 1 (tp1)        dp groups: {0 2} {1 3}    what a step exchanges once
 *       dp1   rank 2 (tp0)   rank 3 (tp1)
 *
 * Ranks next to each other usually share a machine, so the dimension that talks most is the fastest. Megatron and
 * picotron number ranks the same way. The group dpCp joins data and context parallel ranks: both see other tokens with
 * the same weights, so gradients are averaged over both at once.
 */
import { UserError } from '@fourfold/runtime/errors';
import type { ProcessGroup } from './process-group.ts';

/** How many ranks each dimension has, or a rank's place in each. */
export interface Layout {
  /** Data parallel. */
  readonly dp: number;
  /** Pipeline parallel. */
  readonly pp: number;
  /** Context parallel. */
  readonly cp: number;
  /** Tensor parallel. */
  readonly tp: number;
}

/** One rank's groups: `dp`, `pp`, `cp` and `tp` join the ranks that differ in that dimension alone. */
export interface Mesh extends Record<keyof Layout, ProcessGroup> {
  /** All ranks. */
  readonly world: ProcessGroup;
  /** Ranks with the same weights and other tokens: gradients are averaged over it. */
  readonly dpCp: ProcessGroup;
  /** How many ranks each dimension has. */
  readonly layout: Layout;
  /** This rank's place, each coordinate from 0. */
  readonly coordinates: Layout;
  /** The place in words, of the dimensions that have more than one rank: 'dp0 tp1'. */
  readonly label: string;
}

const DIMENSIONS = ['dp', 'pp', 'cp', 'tp'] as const; // slowest first

/** dp · pp · cp · tp. */
export const rankCount = ({ dp, pp, cp, tp }: Layout): number => dp * pp * cp * tp;

/** The rank at a place. */
export const rankOf = (place: Layout, { pp, cp, tp }: Layout): number =>
  ((place.dp * pp + place.pp) * cp + place.cp) * tp + place.tp;

/** A rank's place, each coordinate from 0. */
export function coordinatesOf(rank: number, { pp, cp, tp }: Layout): Layout {
  const along = (size: number, faster: number) => Math.floor(rank / faster) % size;
  return { dp: Math.floor(rank / (tp * cp * pp)), pp: along(pp, tp * cp), cp: along(cp, tp), tp: along(tp, 1) };
}

/** A place as output shows it, 'dp0 tp1': dimensions of one rank are left out. */
export const labelOf = (place: Layout, layout: Layout): string =>
  DIMENSIONS.filter((dimension) => layout[dimension] > 1)
    .map((dimension) => `${dimension}${place[dimension]}`)
    .join(' ');

/**
 * Says what is wrong with a layout for so many ranks.
 *
 * @throws UserError where a dimension is no whole number of at least 1, or their product is not the world's size
 */
export function checkLayout(layout: Layout, worldSize: number): void {
  for (const dimension of DIMENSIONS)
    if (!Number.isInteger(layout[dimension]) || layout[dimension] < 1)
      throw new UserError(`${dimension}=${layout[dimension]} is no number of ranks: use a whole number of at least 1`);
  const count = rankCount(layout);
  if (count === worldSize) return;
  const product = DIMENSIONS.map((dimension) => `${dimension}=${layout[dimension]}`).join(' x ');
  throw new UserError(`${product} is ${count} rank${count === 1 ? '' : 's'}, but the world has ${worldSize}`);
}

/**
 * The mesh of all ranks of `world`, each of which must call it with the same layout.
 *
 * @throws UserError where the layout's product is not the world's size
 */
export async function createMesh(world: ProcessGroup, layout: Layout): Promise<Mesh> {
  checkLayout(layout, world.size);
  const place = coordinatesOf(world.rank, layout);
  const label = labelOf(place, layout);
  world.onPlace?.(label);
  /** The group of the ranks that differ from this one in `dimensions` alone, in the order of their ranks. */
  const along = (name: string, dimensions: Partial<Layout>): Promise<ProcessGroup> =>
    world.split(rankOf({ ...place, ...dimensions }, layout), world.rank, name);
  return {
    world,
    dp: await along('dp', { dp: 0 }),
    pp: await along('pp', { pp: 0 }),
    cp: await along('cp', { cp: 0 }),
    tp: await along('tp', { tp: 0 }),
    dpCp: await along('dpCp', { dp: 0, cp: 0 }),
    layout,
    coordinates: place,
    label,
  };
}
