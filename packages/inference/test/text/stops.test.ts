import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Stops } from '../../src/text/stops.ts';

/** What is let through of a text in pieces. */
function shown(stops: readonly string[], pieces: readonly string[]): { parts: string[]; stopped: boolean } {
  const all = new Stops(stops);
  const parts = [...pieces.map((piece) => all.push(piece)), all.end()];
  return { parts, stopped: all.stopped };
}

test('what may begin a stop is held back until it is one or is none', () => {
  expect(shown(['\n\nUser:'], ['Yes.\n', '\nUse', 'd to'])).toEqual({
    parts: ['Yes.', '', '\n\nUsed to', ''],
    stopped: false,
  });
  expect(shown(['\n\nUser:'], ['Yes.\n', '\nUser', ': more', 'more'])).toEqual({
    parts: ['Yes.', '', '', '', ''],
    stopped: true,
  });
});

test('what was held back is let out at the end', () => {
  expect(shown(['abc'], ['xab'])).toEqual({ parts: ['x', 'ab'], stopped: false });
});

test('a stop that repeats its beginning is found in any place', () => {
  expect(shown(['aab'], ['a', 'a', 'a', 'b'])).toEqual({ parts: ['', '', 'a', '', ''], stopped: true });
});

test('of several stops the one that is complete first counts; of two together, the longer', () => {
  expect(shown(['cd', 'bcde'], ['abcdef']).parts).toEqual(['ab', '']);
  expect(shown(['cd', 'bcd'], ['abcdef']).parts).toEqual(['a', '']);
});

test('an empty stop, or none, stops nothing', () => {
  expect(shown([''], ['ab'])).toEqual({ parts: ['ab', ''], stopped: false });
  expect(shown([], ['ab'])).toEqual({ parts: ['ab', ''], stopped: false });
});

/** Character by character: ends before the first stop that the text so far ends with, the longest of those. */
function reference(stops: readonly string[], text: string): string {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => stop !== '' && text.slice(0, end).endsWith(stop));
    if (found.length > 0) return text.slice(0, end - Math.max(...found.map((stop) => stop.length)));
  }
  return text;
}

test('any text in any pieces ends where it does character by character', () => {
  const letters = (maxLength: number) => fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength });
  fc.assert(
    fc.property(fc.array(letters(4), { maxLength: 3 }), fc.array(letters(5), { maxLength: 8 }), (stops, pieces) => {
      expect(shown(stops, pieces).parts.join('')).toBe(reference(stops, pieces.join('')));
    }),
    { numRuns: 2000 },
  );
});
