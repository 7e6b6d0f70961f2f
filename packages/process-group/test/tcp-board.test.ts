import { expect, test } from 'vitest';
import { Board, wasSet } from '../src/tcp/board.ts';

test('a value can be asked for before and after it is set, by any number', async () => {
  const board = new Board();
  const early = [board.get('x'), board.get('x', 1)];
  board.set('x', '1');
  expect(await Promise.all([...early, board.get('x')])).toEqual(['1', '1', '1']);
  board.set('x', '2');
  expect(await board.get('x')).toBe('2');
});

test('whoever waits for a rank that leaves is told; what the rank has set stays', async () => {
  const board = new Board();
  board.set('y', '1');
  const waiting = board.get('x', 3);
  const other = board.get('x', 2);
  board.leave(3);
  await expect(waiting).rejects.toThrow("rank 3 left without having set 'x'");
  await expect(board.get('z', 3)).rejects.toThrow("rank 3 left without having set 'z'");
  expect(await board.get('y', 3)).toBe('1');
  board.set('x', '2');
  expect(await other).toBe('2');
  board.come(3);
  const again = board.get('z', 3);
  board.set('z', '3');
  expect(await again).toBe('3');
});

test('closing ends all waiting, and names what was waited for', async () => {
  const board = new Board();
  const waiting = [board.get('x', 3), board.get('y')];
  board.close();
  await expect(waiting[0]).rejects.toThrow("the store was closed before 'x' was set by rank 3");
  await expect(waiting[1]).rejects.toThrow("the store was closed before 'y' was set");
  expect(wasSet('x', 0, 'was not')).toBe("'x' was not set by rank 0");
});
