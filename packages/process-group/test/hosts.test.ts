import { expect, test } from 'vitest';
import { doorsOf, faultChild, type RankUnderTest } from './fault-ranks.ts';
import { expectSameBits, noHosts, onTwoHosts } from './host-ranks.ts';
import { ADDRESSES } from './hosts.ts';
import { until } from './launch-command.ts';

test.skipIf(noHosts)('2 ranks on two hosts get the bits that local gets', async () => {
  await expectSameBits(2);
});

test.skipIf(noHosts)('the doors of the store and of a rank are open on its own address alone', async () => {
  const { ranks } = await onTwoHosts(2, [faultChild, 'barrier'], undefined, 1);
  const doors = await until(() => {
    const open = doorsOf((ranks[0] as RankUnderTest).pid);
    return open.length === 2 ? open : undefined;
  });
  expect(doors.map(({ host }) => host)).toEqual([ADDRESSES[0], ADDRESSES[0]]);
});
