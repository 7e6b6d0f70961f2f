/**
 * A shuffle that is never written down.
 *
 * Shuffling n things usually takes a list of n numbers, kept for as long as the epoch lasts and saved with every
 * checkpoint. Here the order is a function instead: shuffled(i, n, key) says which thing comes at place i, in constant
 * time and without memory, so every rank asks for its own places and a resumed run asks for the places that are left.
 *
 * Two old ideas make it. A Feistel network (the skeleton of the DES cipher) turns any random function F into a
 * permutation of 2b-bit numbers: halve the number and repeat (left, right) -> (right, left xor F(right)), where each
 * round can be undone whatever F is. And cycle walking cuts that permutation down to [0, n): where the result is n or
 * more, encrypt it again; following a cycle that began below n must come back below n, and no two starts meet.
 * Black and Rogaway, "Ciphers with arbitrary finite domains" (2002).
 */
import { type Key, randomWords } from '@fourfold/runtime/random';

// Luby and Rackoff (1988): four rounds look random to anyone who may ask for few values. Two more for tiny domains.
const ROUNDS = 6;

/**
 * Which of n things comes at place `index` in the order that `key` names: a permutation of [0, n).
 *
 * @param index a place, 0 <= index < n
 * @param n how many things there are, at most 2^32
 */
export function shuffled(index: number, n: number, key: Key): number {
  // The smallest even number of bits that holds n values: at most 4n, so the walk takes four steps on average at worst.
  const halfBits = Math.max(1, Math.ceil(Math.log2(n) / 2));
  let place = feistel(index, halfBits, key);
  while (place >= n) place = feistel(place, halfBits, key);
  return place;
}

/** A permutation of the numbers below 4^halfBits. F in round r is the stream's word r x 2^halfBits + right. */
function feistel(value: number, halfBits: number, key: Key): number {
  const size = 2 ** halfBits;
  let left = Math.floor(value / size);
  let right = value % size;
  for (let round = 0; round < ROUNDS; round++) {
    const word = randomWords(key, round * size + right, 1)[0] ?? 0;
    [left, right] = [right, left ^ (word & (size - 1))];
  }
  return left * size + right;
}
