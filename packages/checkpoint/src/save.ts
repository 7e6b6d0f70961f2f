/**
 * Saves a run's state while it goes on.
 *
 *     step 120    update | copy | step 121 | step 122 | commit | step 123        every rank, in the same places
 *     a thread               | write, hash, sync |
 *     rank 0                                              rename | remove old ones
 *
 * A copy is needed because updates change weights where they lie; a GPU makes it before it begins the next step. When a
 * rank's file is on the disk it says so with its next step's numbers; once all have, they commit: rank 0 writes down
 * every file's hash and renames the folder. A new checkpoint begins by committing the last, so there are never two on
 * the way.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Parameter, type Range, rangesOf } from '@fourfold/ops';
import { gatherObjects, type ProcessGroup } from '@fourfold/process-group';
import { arrived, BYTES, copyOut, type DType, dtypeOf, messageOf } from '@fourfold/runtime';
import type { Tensor } from '@tensorflow/tfjs-core';
import { nameOf, openFolder, partialOf, publish } from './folder.ts';
import { asBytes } from './header.ts';
import { fileOf, type Manifest } from './manifest.ts';
import { partName, pieceName } from './pieces.ts';
import type { StoredTensor } from './safetensors.ts';
import { type Extent, shareOut } from './shares.ts';
import { Writer, type Written } from './writer.ts';

/** The dtypes of a state, as safetensors calls them. */
export const STORED = { float32: 'F32', bfloat16: 'BF16', int32: 'I32', bool: 'BOOL' } as const satisfies Record<
  DType,
  string
>;

/** Where checkpoints go, and what is in them. */
export interface SaveOptions {
  /** The folder of all checkpoints of the run. */
  readonly folder: string;
  /** How many checkpoints to keep; 0: all. */
  readonly keep: number;
  /** What this rank updates. */
  readonly parameters: readonly Parameter[];
  /** What is kept of each: its weight, moments, master. */
  readonly stateOf: (parameter: Parameter) => object;
  /** Hears of each checkpoint on the first rank. */
  readonly say: (sentence: string) => void;
}

/** What a manifest says besides its files. */
export type About = Omit<Manifest, 'format' | 'files'>;

/** A stretch of one parameter's state that this rank writes: elements from `at` on. */
interface Share extends Extent {
  readonly parameter: Parameter;
  readonly of: Parameter;
  readonly at: number;
}

interface Flight {
  readonly about: About;
  readonly writing: Promise<Written>;
  isWritten: boolean;
}

/** Saves a run's checkpoints: each rank writes its own file, while training goes on. */
export class Saver {
  readonly #world: ProcessGroup;
  readonly #options: SaveOptions;
  readonly #shares: readonly Share[];
  readonly #writer = new Writer();
  #flight: Flight | undefined;
  #publishing: Promise<void> = Promise.resolve();

  /**
   * All ranks call it, and see to it that no other run uses the folder.
   *
   * @throws UserError on rank 0 where the folder can't be written
   */
  static async open(world: ProcessGroup, options: SaveOptions): Promise<Saver> {
    if (world.rank === 0) await openFolder(options.folder);
    const ranges = options.parameters.flatMap((parameter) => rangesOf(parameter).map((r) => ({ ...r, parameter })));
    const mine = ranges.map(({ of, from, to }) => ({ part: partName(of), from, to }));
    const share = shareOut(await gatherObjects(world, mine))[world.rank] as Extent[];
    const shares = share.map((extent) => {
      const holds = ({ of, from, to }: Range) => partName(of) === extent.part && from <= extent.from && extent.to <= to;
      const { parameter, of, from, at } = ranges.find(holds) as Range & { parameter: Parameter };
      return { ...extent, parameter, of, at: at + extent.from - from };
    });
    return new Saver(world, options, shares);
  }

  private constructor(world: ProcessGroup, options: SaveOptions, shares: readonly Share[]) {
    this.#world = world;
    this.#options = options;
    this.#shares = shares;
  }

  /** Whether this rank has a file on the disk that waits for a commit. */
  get isWritten(): boolean {
    return this.#flight?.isWritten ?? false;
  }

  /**
   * Begins a checkpoint: returns when the state may change, since it is copied, or will be before it does. All ranks
   * call it after the same step.
   */
  async save(about: About): Promise<void> {
    await this.commit();
    const path = join(partialOf(this.#options.folder, about.step), fileOf(this.#world.rank));
    await this.#world.drained();
    const tensors = await this.#copies();
    const writing = this.#write(path, tensors);
    const flight: Flight = { about, writing, isWritten: false };
    this.#flight = flight;
    writing.then(() => {
      flight.isWritten = true;
    });
  }

  async #write(path: string, tensors: ReadonlyMap<string, StoredTensor>): Promise<Written> {
    try {
      await arrived();
      await mkdir(join(path, '..'), { recursive: true });
    } catch (error) {
      return { problem: messageOf(error) };
    }
    return this.#writer.write(path, tensors);
  }

  async #copies(): Promise<Map<string, StoredTensor>> {
    const copies = new Map<string, StoredTensor>();
    this.#writer.begin();
    for (const { parameter, of, from, to, at } of this.#shares)
      for (const [kind, tensor] of Object.entries(this.#options.stateOf(parameter)) as [string, Tensor][]) {
        const dtype = dtypeOf(tensor);
        const name = pieceName({ kind, name: of.name, shard: of.shard, from, to });
        const copy = this.#writer.tensor(name, STORED[dtype], to - from);
        await copyOut(tensor, at * BYTES[dtype], asBytes(copy.data));
        copies.set(name, copy);
      }
    return copies;
  }

  /** Completes the checkpoint that is on its way, if one is. All ranks call it at the same place. */
  async commit(): Promise<void> {
    await this.#publishing;
    const flight = this.#flight;
    if (!flight) return;
    const mine = await flight.writing;
    this.#flight = undefined;
    const all = await gatherObjects(this.#world, mine);
    if (this.#world.rank === 0) this.#publishing = this.#publish(flight.about, all);
  }

  /** Says what became of it. A checkpoint that fails costs no training. */
  async #publish(about: About, all: readonly Written[]): Promise<void> {
    const { folder, keep, say } = this.#options;
    try {
      const files = all.map((written, rank) => {
        if ('problem' in written) throw new Error(`rank ${rank}: ${written.problem}`);
        return { name: fileOf(rank), ...written };
      });
      await publish(folder, { format: 1, ...about, files }, keep);
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      say(`saved ${join(folder, nameOf(about.step))}, ${(bytes / 1e6).toFixed(1)} MB`);
    } catch (error) {
      await rm(partialOf(folder, about.step), { recursive: true, force: true }).catch(() => {});
      say(`${join(folder, nameOf(about.step))} is not saved, and training goes on: ${messageOf(error)}`);
    }
  }

  /** Ends when the last checkpoint can be seen. All ranks call it. */
  async close(): Promise<void> {
    await this.commit();
    await this.#publishing;
    await this.#world.barrier();
    await this.#writer.close();
  }
}
