/** What this machine wants in the cache, and what of it is there already. */
import { cacheDirectory } from '../cache.ts';
import { builtModule, type Module, type Modules, modulesFor } from './compile.ts';
import { SetupFailure } from './failure.ts';
import { homeOf, isWhole, type Part, partsOf } from './layout.ts';
import { loader, platform } from './look.ts';
import { missingCuda, type Pins, pinsFor, titleOf, type Variant } from './wheels.ts';

export interface Plan {
  readonly variant: Variant;
  /** The folder in the cache that everything below goes to. */
  readonly home: string;
  readonly modules: Modules;
  /** Wheels to fetch and extract, because they are not there or not whole. */
  readonly missingParts: readonly Part[];
  /** Native modules to compile. */
  readonly missingModules: readonly Module[];
}

/**
 * Plans for `variant` in the cache folder (default: cacheDirectory()), with the pinned wheels or others that a test
 * gives. Throws SetupFailure where TensorFlow is published for no such machine.
 */
export async function planFor(variant: Variant, cache = cacheDirectory(), ownPins?: Pins): Promise<Plan> {
  const pins = ownPins ?? pinsFor(variant, platform());
  if (!pins) throw new SetupFailure(`${titleOf(variant)} is not published for ${platform()}`);
  const home = homeOf(cache, variant, pins);
  const lacking = pins.cuda.length > 0 ? missingCuda(pins.cuda, await loader()) : [];
  const modules = await modulesFor(pins);
  return {
    variant,
    home,
    modules,
    missingParts: await filterAsync(partsOf(pins, lacking), async (part) => !(await isWhole(part, home))),
    missingModules: await filterAsync(Object.values(modules), async (module) => !(await builtModule(module, home))),
  };
}

/** Whether nothing is missing. */
export const isReady = (plan: Plan): boolean => plan.missingParts.length === 0 && plan.missingModules.length === 0;

async function filterAsync<T>(items: readonly T[], keep: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(items.map(keep));
  return items.filter((_, i) => kept[i]);
}
