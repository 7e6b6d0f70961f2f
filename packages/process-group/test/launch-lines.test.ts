import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Lines, LONGEST_LINE } from '../src/launch/lines.ts';

/** The lines of an output that comes in these chunks. */
function linesOf(...chunks: (string | Buffer)[]): string[] {
  const lines = new Lines();
  return [...chunks.flatMap((chunk) => lines.add(Buffer.from(chunk))), ...lines.end()];
}

test('lines come whole, and the last one also without an end', () => {
  expect(linesOf('loss 3.1\nlo', 'ss 2.9\n\nthe', ' end')).toEqual(['loss 3.1', 'loss 2.9', '', 'the end']);
  expect(linesOf('one\n')).toEqual(['one']);
  expect(linesOf()).toEqual([]);
});

test('a line that was begun is kept until it ends', () => {
  const lines = new Lines();
  expect(lines.add(Buffer.from('lo'))).toEqual([]);
  expect(lines.add(Buffer.from('ss\nne'))).toEqual(['loss']);
});

test('of a line drawn over with carriage returns the last state is kept', () => {
  expect(linesOf('10%\r20%\r30%\nnext\n')).toEqual(['30%', 'next']);
  expect(linesOf('10%\r', '20%\r', '100%\r', '\n')).toEqual(['100%']);
  expect(linesOf('\r10%\r20%')).toEqual(['20%']);
  expect(linesOf('10%\r20%\r')).toEqual(['20%']);
});

test('a carriage return before a newline is part of it', () => {
  expect(linesOf('one\r\ntwo\r', '\nthree\r\n')).toEqual(['one', 'two', 'three']);
});

test('a progress bar that never ends takes no memory', () => {
  const lines = new Lines();
  for (let i = 0; i < 10_000; i++) expect(lines.add(Buffer.from(`${i} ${'.'.repeat(100)}\r`))).toEqual([]);
  expect(lines.end()).toEqual([`9999 ${'.'.repeat(100)}`]);
});

test('a line of more than 64 KiB comes in pieces, before it has ended', () => {
  const lines = new Lines();
  expect(lines.add(Buffer.from('x'.repeat(LONGEST_LINE + 1))).map((piece) => piece.length)).toEqual([LONGEST_LINE]);
  expect(lines.end()).toEqual(['x']);
  const emoji = `${'x'.repeat(LONGEST_LINE - 1)}🎉!`;
  expect(linesOf(`${emoji}\n`)).toEqual(['x'.repeat(LONGEST_LINE - 1), '🎉!']);
});

test('wherever the bytes are cut into chunks, the lines are the same', () => {
  const text = fc.string({ unit: fc.constantFrom('a', '\n', '\r', 'é', '🎉'), maxLength: 30 });
  fc.assert(
    fc.property(text, fc.array(fc.nat(60), { maxLength: 6 }), (whole, cuts) => {
      const bytes = Buffer.from(whole);
      const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = places.slice(1).map((end, i) => bytes.subarray(places[i], end));
      expect(linesOf(...chunks)).toEqual(linesOf(bytes));
    }),
  );
});
