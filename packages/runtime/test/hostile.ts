/**
 * Files as an enemy or a bad disk would leave them, for the tests of whatever reads files: the same ones for the same
 * number. Bytes are cut, turned, moved and set; JSON gets values that nobody expects in places that exist.
 */
import { keyOf, uniforms } from '../src/random.ts';

/** Draws of number `i`: whole numbers from 0 up to, but not, `end`. */
export function drawsOf(i: number): (end: number) => number {
  const key = keyOf(i, 'hostile');
  let at = 0;
  return (end) => Math.floor((uniforms(key, at++, 1)[0] as number) * end);
}

/** A copy with one to four changes; most fall into the first `head` bytes, where a file says what it has. */
export function changedBytes(bytes: Uint8Array, draw: (end: number) => number, head = bytes.length): Uint8Array {
  let copy = Uint8Array.from(bytes);
  for (let changes = 1 + draw(4); changes > 0; changes--) {
    const at = draw(Math.max(1, draw(4) > 0 ? Math.min(head, copy.length) : copy.length));
    const change = draw(6);
    if (change === 0) copy = copy.slice(0, at);
    else if (change === 1) copy[at] = (copy[at] ?? 0) ^ (1 << draw(8));
    else if (change === 2) copy.fill([0, 255, 127, 128][draw(4)] ?? 0, at, at + 4 ** draw(4));
    else if (change === 3) copy.copyWithin(at, draw(copy.length + 1), draw(copy.length + 1));
    else if (change === 4 && at + 8 <= copy.length) new DataView(copy.buffer).setBigUint64(at, numberOf(draw), true);
    else copy[at] = draw(256);
  }
  return copy;
}

const numberOf = (draw: (end: number) => number): bigint =>
  [0n, 1n, 255n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, BigInt(draw(10_000))][draw(9)] ?? 0n;

/** Nested so deeply that whoever descends by calling itself falls. */
export const DEEP = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
const DEEP_PLACE = '"the deep place"';
const STRANGE = [
  null,
  true,
  -1,
  0,
  1e308,
  0.5,
  2 ** 53,
  '',
  'x',
  '../../etc/passwd',
  '\u0000',
  [],
  {},
  [[]],
  { a: 1 },
  [1e9],
];

/** The text of `json` with one to three of its values replaced, doubled or taken away, or the text itself changed. */
export function changedJson(json: unknown, draw: (end: number) => number): string {
  if (draw(4) === 0) return Buffer.from(changedBytes(Buffer.from(JSON.stringify(json)), draw)).toString('latin1');
  const copy = { whole: structuredClone(json) };
  for (let changes = 1 + draw(3); changes > 0; changes--) {
    const places = placesIn(copy, 0);
    const [owner, key] = places[draw(places.length)] ?? [copy as Record<string, unknown>, 'whole'];
    const change = draw(4);
    if (change === 0) delete owner[key];
    else if (change === 1) owner[key] = JSON.parse(DEEP_PLACE);
    else owner[key] = STRANGE[draw(STRANGE.length)];
  }
  return (JSON.stringify(copy.whole) ?? '').replace(DEEP_PLACE, DEEP);
}

/** All places of a value's values, as their owners and keys. Of long lists the first hundred. */
function placesIn(owner: object, depth: number): [Record<string, unknown>, string][] {
  const own = owner as Record<string, unknown>;
  const keys = Object.keys(own).slice(0, 100);
  return keys.flatMap((key) => {
    const value = own[key];
    const inner = typeof value === 'object' && value !== null && depth < 12 ? placesIn(value, depth + 1) : [];
    return [[own, key] as [Record<string, unknown>, string], ...inner];
  });
}

/** What one of so many hostile files led to. */
export interface Outcomes {
  taken: number;
  refused: number;
  /** Of all of them, in milliseconds. */
  longest: number;
  /** What was thrown beside UserErrors, and by which number. */
  readonly crashes: string[];
}

/** Runs `open` on files number 0 to `count`: it may do its work, or throw a UserError. */
export async function ordeal(count: number, open: (i: number, draw: (end: number) => number) => Promise<void>) {
  const outcomes: Outcomes = { taken: 0, refused: 0, longest: 0, crashes: [] };
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    try {
      await open(i, drawsOf(i));
      outcomes.taken++;
    } catch (error) {
      const isRefusal = error instanceof Error && error.name === 'UserError';
      if (isRefusal) outcomes.refused++;
      else outcomes.crashes.push(`number ${i}: ${error instanceof Error ? error.stack : error}`);
    }
    outcomes.longest = Math.max(outcomes.longest, performance.now() - start);
  }
  return outcomes;
}
