import { expect, test } from 'vitest';
import { addressOf, fingerprintOf, nameOf, parseAnswer, parseOffer } from '../src/cluster/offer.ts';
import { chooseOptions } from '../src/load.ts';
import { TINY_WIDE, tinyModel } from './tiny.ts';

const valid = {
  ...{ version: '0.1.0', session: 1, rank: 1, workers: [{ host: '10.0.0.2', port: 9998 }], shape: TINY_WIDE },
  ...{ fingerprint: 'f', sharing: chooseOptions(tinyModel(TINY_WIDE)), transfers: 'q80', timeoutMs: 1000 },
};
const parse = (value: unknown) => parseOffer(Buffer.from(JSON.stringify(value)), '0.1.0');

test('addresses are host:port, IPv6 in brackets', () => {
  for (const text of ['10.0.0.2:9998', 'machine-2:1', '[fe80::1]:65535']) expect(nameOf(addressOf(text))).toBe(text);
  for (const text of ['10.0.0.2', ':9998', 'a:0', 'a:65536', 'a b:1', '::1:9998'])
    expect(() => addressOf(text)).toThrow(`--workers ${text} is no address: write host:port`);
});

test('an offer of this version that makes sense is taken', () => {
  expect(parse(valid)).toMatchObject({ rank: 1, shape: TINY_WIDE });
  expect(() => parse({ ...valid, version: '0.2.0' })).toThrow('it runs fourfold 0.1.0, and the root 0.2.0');
  const wrong = [{ rank: 0 }, { workers: [] }, { timeoutMs: 1e12 }, { transfers: 'q4' }, { shape: { layers: 1e9 } }];
  for (const part of wrong) expect(() => parse({ ...valid, ...part })).toThrow('the offer makes no sense');
  expect(() => parseOffer(Uint8Array.of(123), '0.1.0')).toThrow('the offer makes no sense');
  expect(() => parseAnswer(Uint8Array.of(1), 'worker a:1')).toThrow('worker a:1 gave an answer that makes no sense');
});

test("a fingerprint is of the numbers too, and not of who read the model's shape", () => {
  const model = tinyModel(TINY_WIDE);
  const { vocabulary, ...rest } = TINY_WIDE;
  expect(fingerprintOf({ ...model, shape: { ...rest, vocabulary } })).toBe(fingerprintOf(model));
  const others = [
    tinyModel(TINY_WIDE, 'f32', undefined, 2),
    tinyModel(TINY_WIDE, 'q80'),
    { ...model, shape: { ...TINY_WIDE, theta: 1e6 } },
  ];
  expect(new Set([model, ...others].map(fingerprintOf)).size).toBe(4);
});
