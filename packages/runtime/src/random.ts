/**
 * Random numbers that don't know how the work is split.
 *
 * A stream is named by a seed and a string ("model.layers.3.mlp.up_proj.weight", "batches"). Its i-th number is a
 * function of (seed, name, i) and of nothing else: no state is carried along, so a rank that holds half of a tensor
 * draws its half alone and gets the very numbers that one rank would have given to those places.
 *
 * The generator is Threefry-2x32 with 20 rounds, as in JAX: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as
 * easy as 1, 2, 3" (2011). It needs only 32-bit additions, rotations and exclusive-ors, which JavaScript has.
 */

/** A stream's key: two 32-bit words. */
export type Key = readonly [number, number];

/** The key of stream `name` under `seed` (any integer that a double holds exactly), by FNV-1a over the name's bytes. */
export function keyOf(seed: number, name: string): Key {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  const mixed = new Uint32Array(2);
  threefry([low, high], hash >>> 0, name.length, mixed, 0);
  return [mixed[0] ?? 0, mixed[1] ?? 0];
}

// Threefry's rotation distances, round by round, four rounds and then four others; after every four rounds the key is
// added again, rotated through its three words (the third is the first two xored with a constant).
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];
const PARITY = 0x1bd11bda;

/** Encrypts the counter (c0, c1) under `key` and writes the two words of cipher text to out[at] and out[at + 1]. */
export function threefry(key: Key, c0: number, c1: number, out: Uint32Array, at: number): void {
  const keys = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
  let x0 = (c0 + key[0]) | 0;
  let x1 = (c1 + key[1]) | 0;
  for (let group = 0; group < 5; group++) {
    for (let round = 0; round < 4; round++) {
      const distance = ROTATIONS[(group % 2) * 4 + round] as number;
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << distance) | (x1 >>> (32 - distance))) ^ x0;
    }
    x0 = (x0 + (keys[(group + 1) % 3] as number)) | 0;
    x1 = (x1 + (keys[(group + 2) % 3] as number) + group + 1) | 0;
  }
  out[at] = x0;
  out[at + 1] = x1;
}

/** Words `start` to `start + count` of a stream: independent, uniform over the 32-bit integers. */
export function randomWords(key: Key, start: number, count: number): Uint32Array {
  // The counter goes in pairs of words: begin at the pair that holds `start` and cut what comes before it.
  const first = Math.floor(start / 2);
  const pairs = Math.ceil((start + count) / 2) - first;
  const words = new Uint32Array(pairs * 2);
  for (let i = 0; i < pairs; i++) {
    const counter = first + i;
    threefry(key, counter >>> 0, Math.floor(counter / 2 ** 32), words, 2 * i);
  }
  const skip = start - 2 * first;
  return words.subarray(skip, skip + count);
}

/** Numbers `start` to `start + count` of a stream, uniform over [0, 1), with 32 bits each. */
export const uniforms = (key: Key, start: number, count: number): Float64Array =>
  Float64Array.from(randomWords(key, start, count), (word) => word / 2 ** 32);

/**
 * Normal numbers `start` to `start + count` of a stream, mean 0 and standard deviation `std`.
 *
 * Box and Muller (1958): two uniforms make two normals, radius sqrt(-2 ln u) and angle 2 pi v, so an even place and
 * the odd one after it share their two words.
 */
export function normals(key: Key, start: number, count: number, std = 1): Float32Array {
  const out = new Float32Array(count);
  const first = start - (start % 2);
  const words = randomWords(key, first, start + count - first + 1);
  for (let i = 0; i < count; i++) {
    const place = start - first + i;
    const even = place - (place % 2);
    const radius = std * Math.sqrt(-2 * Math.log(((words[even] ?? 0) + 1) / 2 ** 32)); // u in (0, 1]: no log of 0
    const angle = 2 * Math.PI * ((words[even + 1] ?? 0) / 2 ** 32);
    out[i] = radius * (place % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
  }
  return out;
}
