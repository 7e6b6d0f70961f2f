/** The questions, with keys as a terminal sends them. */
import { PassThrough } from 'node:stream';
import { UserError } from '@fourfold/runtime/errors';
import { expect, test } from 'vitest';
import { type Answers, askForSettings } from '../src/questions.ts';

const ENTER = '\r';
const DOWN = '\u001b[B';
const CTRL_C = '\u0003';

/** A terminal whose user presses these keys, one after each question has appeared. */
function terminal(keys: readonly string[]) {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const left = [...keys];
  const pieces: string[] = [];
  let timer: NodeJS.Timeout | undefined;
  output.on('data', (piece: Buffer) => {
    pieces.push(piece.toString());
    clearTimeout(timer);
    timer = setTimeout(() => input.write(left.shift() ?? CTRL_C), 20); // when it has been drawn
  });
  return { input, output, said: () => pieces.join('') };
}

const enters = (count: number): string[] => Array(count).fill(ENTER);
const usual = { model: 'nano', tokenizer: 'bytes', data: 'moby-dick', steps: 400 };
const layout = { seqLength: 1024, dp: 1, tp: 1, pp: 1, cp: 1, microBatchSize: 1, gradAccSteps: 1 };
const ways = { precision: 'float32', recompute: 'none' };

test('Enter takes what is usual', async () => {
  const answers = await askForSettings(async () => {}, terminal(enters(13)));
  expect(answers).toEqual({ ...usual, ...layout, ...ways });
});

test('arrows choose, digits are numbers', async () => {
  const keys = [DOWN, ENTER, ...enters(3), '64', ENTER, '2', ENTER, ...enters(7)];
  const answers = await askForSettings(async () => {}, terminal(keys));
  expect(answers).toMatchObject({ model: 'micro', seqLength: 64, dp: 2, tp: 1 });
});

test('what isn’t a number of at least 1 is asked for again', async () => {
  const asked = terminal([...enters(4), '0', ENTER, '\u007f', '32', ENTER, ...enters(8)]);
  expect(await askForSettings(async () => {}, asked)).toMatchObject({ seqLength: 32 });
  expect(asked.said()).toContain('Use a whole number of at least 1');
});

test('a layout that can’t be is said to be one, and asked for again, with what was answered', async () => {
  const seen: Answers[] = [];
  const check = async (answers: Answers) => {
    seen.push(answers);
    if (answers['tp'] === 3) throw new UserError('tp=3 does not divide heads=4: use 1, 2, 4');
  };
  const asked = terminal([
    ...enters(4),
    '64',
    ENTER,
    ENTER,
    '3',
    ENTER,
    ...enters(6),
    ENTER,
    ENTER,
    '2',
    ENTER,
    ...enters(6),
  ]);
  expect(await askForSettings(check, asked)).toMatchObject({ seqLength: 64, tp: 2 });
  expect(seen.map(({ tp }) => tp)).toEqual([3, 2]);
  expect(asked.said()).toContain('tp=3 does not divide heads=4: use 1, 2, 4');
});

test('Ctrl-C gives up', async () => {
  const asked = terminal([ENTER, CTRL_C]);
  expect(await askForSettings(async () => {}, asked)).toBeUndefined();
  expect(asked.said()).toContain('Nothing was written.');
});

test('a defect in the check is no answer', async () => {
  const broken = async () => {
    throw new TypeError('broken');
  };
  await expect(askForSettings(broken, terminal(enters(13)))).rejects.toThrow('broken');
});
