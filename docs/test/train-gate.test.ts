import { expect, test } from 'vitest';
import { Gate } from '../src/train/gate.ts';

test('an open gate is passed; a closed one when it opens', async () => {
  const gate = new Gate();
  await gate.pass();
  gate.close();
  gate.close(); // twice is once
  let through = false;
  const passing = gate.pass().then(() => {
    through = true;
  });
  await new Promise((done) => setTimeout(done, 5));
  expect(through).toBe(false);
  gate.open();
  await passing;
  gate.close();
  gate.open();
  await gate.pass();
  expect(through).toBe(true);
});
