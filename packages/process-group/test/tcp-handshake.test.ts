import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { UserError } from '@fourfold/runtime/errors';
import { afterEach, expect, test, vi } from 'vitest';
import {
  type ByteStream,
  checkSecret,
  guard,
  type Hello,
  inTime,
  introduce,
  isLoopback,
  Stranger,
  socketStream,
  welcome,
  within,
} from '../src/tcp/handshake.ts';

const SECRET = 'sixteen letters!';
const HELLO: Hello = { purpose: 'peer', rank: 1, worldSize: 2, attempt: 0 };
const accept = () => undefined;

const open: (Server | Socket)[] = [];
afterEach(() => {
  for (const end of open.splice(0)) 'close' in end ? end.close() : end.destroy();
});

/** A listening server and its port. */
async function listening(): Promise<[Server, number]> {
  const server = createServer().listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  return [server, (server.address() as AddressInfo).port];
}

/** Both ends of a connection. */
async function pair(): Promise<[dialed: Socket, accepted: Socket]> {
  const [server, port] = await listening();
  const dialed = connect(port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [Socket];
  open.push(dialed, accepted);
  return [dialed, accepted];
}

/** What came of both ends' handshakes: a result or an error each. */
async function meet(
  theirs: string,
  ours: string,
  refuse: (hello: Hello) => string | undefined = accept,
  hello = HELLO,
) {
  const [dialed, accepted] = await pair();
  const outcome = (promise: Promise<unknown>) => promise.catch((error: unknown) => error);
  return Promise.all([
    outcome(within(1000, dialed, introduce(socketStream(dialed), theirs, hello))),
    outcome(within(1000, accepted, welcome(socketStream(accepted), ours, refuse))),
  ]);
}

test('two ends with the same secret meet, and the hello arrives as it was given', async () => {
  expect(await meet(SECRET, SECRET)).toEqual([undefined, HELLO]);
  expect(await meet('', '')).toEqual([undefined, HELLO]);
});

test('another secret: both ends say so, and the hello is never sent', async () => {
  const [dialing, accepting] = await meet('another secret!!', SECRET);
  for (const error of [dialing, accepting]) {
    expect(error).toBeInstanceOf(Stranger);
    expect(error).toHaveProperty('message', 'it does not know the secret');
  }
});

test('a refusal reaches the end that dialed in the words of the other', async () => {
  const [dialing, accepting] = await meet(SECRET, SECRET, ({ rank }) => `rank ${rank} is not wanted: come again`);
  expect(dialing).toEqual(new UserError('rank 1 is not wanted: come again'));
  expect(accepting).toEqual(new Error('rank 1 is not wanted: come again'));
});

test('a refusal is cut to 512 bytes', async () => {
  const [dialing] = await meet(SECRET, SECRET, () => 'x'.repeat(1000));
  expect(dialing).toEqual(new UserError('x'.repeat(512)));
});

test.each([
  { ...HELLO, rank: -1 },
  { ...HELLO, rank: 1.5 },
  { ...HELLO, worldSize: 0 },
  { ...HELLO, worldSize: 65537 },
  { ...HELLO, attempt: 1e10 },
  { ...HELLO, purpose: 'tea' },
  { ...HELLO, rank: '1' },
  { ...HELLO, rank: undefined },
])('a hello that makes no sense is refused: %o', async (hello) => {
  const [dialing] = await meet(SECRET, SECRET, accept, hello as unknown as Hello);
  expect(dialing).toEqual(new UserError('this hello makes no sense'));
});

/** A man in the middle, who hands on what each end says, changed by `alter`; counts the bytes of the dialing end. */
async function meetThrough(alter: (bytes: Buffer, position: number) => Buffer) {
  const [server, port] = await listening();
  const [middle, middlePort] = await listening();
  middle.on('connection', (client) => {
    const onward = connect(port, '127.0.0.1');
    let position = 0;
    client.on('data', (bytes) => {
      onward.write(alter(Buffer.from(bytes), position));
      position += bytes.length;
    });
    onward.on('data', (bytes) => client.write(bytes)).on('close', () => client.destroy());
    client.on('close', () => onward.destroy());
    open.push(client, onward);
  });
  const dialed = connect(middlePort, '127.0.0.1');
  open.push(dialed);
  const dialing = within(1000, dialed, introduce(socketStream(dialed), SECRET, HELLO)).catch(() => {});
  const [accepted] = (await once(server, 'connection')) as [Socket];
  open.push(accepted);
  const result = await within(1000, accepted, welcome(socketStream(accepted), SECRET, accept)).catch((error) => error);
  dialed.destroy();
  await dialing;
  return result;
}

test('a man in the middle can hand on a hello, but not alter it', async () => {
  expect(await meetThrough((bytes) => bytes)).toEqual(HELLO);
  const HELLO_STARTS = 8 + 32 + 32; // bytes: magic, nonce, proof
  const error = await meetThrough((bytes, position) => {
    if (position !== HELLO_STARTS) return bytes;
    return Buffer.from(bytes.toString('latin1').replace('"rank":1', '"rank":0'), 'latin1');
  });
  expect(error).toEqual(new Stranger('its hello was altered'));
});

test.each([
  ['noise', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'), 'it speaks another protocol'],
  ['another version', Buffer.from('FOURFLD\x7f'), 'it runs another version of Fourfold'],
  ['a proof that proves nothing', Buffer.concat([Buffer.from('FOURFLD\x01'), Buffer.alloc(64)]), 'it does not know'],
])('%s is told from a rank by both ends', async (_, bytes, message) => {
  for (const shake of [welcome, introduce]) {
    const [dialed, accepted] = await pair();
    dialed.write(bytes);
    const stream = socketStream(accepted);
    const shaking: Promise<unknown> =
      shake === welcome ? welcome(stream, SECRET, accept) : introduce(stream, SECRET, HELLO);
    const error = await within(1000, accepted, shaking).catch((caught) => caught);
    expect(error).toBeInstanceOf(Stranger);
    expect((error as Stranger).message).toContain(message);
  }
});

test('an end that sends back what it gets knows nothing', async () => {
  const [dialed, accepted] = await pair();
  accepted.pipe(accepted);
  const shaking = within(1000, dialed, introduce(socketStream(dialed), SECRET, HELLO));
  await expect(shaking).rejects.toThrow('it repeats what it hears');
});

test('a length of more than 512 bytes is not read', async () => {
  const counts: number[] = [];
  const [dialed, accepted] = await pair();
  const inner = socketStream(accepted);
  const spy: ByteStream = {
    read: (count) => {
      counts.push(count);
      return inner.read(count);
    },
    write: (bytes) => inner.write(bytes),
  };
  const welcoming = welcome(spy, SECRET, accept).catch((error) => error);
  const stream = socketStream(dialed);
  const lying: ByteStream = {
    read: (count) => stream.read(count),
    write: (bytes) => stream.write(bytes.length > 72 ? Buffer.from([0xff, 0xff]) : bytes), // in place of the hello
  };
  introduce(lying, SECRET, HELLO).catch(() => {});
  expect(await welcoming).toEqual(new Stranger('it announces 65535 bytes where at most 512 are allowed'));
  expect(Math.max(...counts)).toBe(32);
});

test('a silent end costs no more time than is allowed, and its socket', async () => {
  const [, accepted] = await pair();
  const start = performance.now();
  const welcoming = within(100, accepted, welcome(socketStream(accepted), SECRET, accept));
  await expect(welcoming).rejects.toThrow('it did not answer within 0.1 s');
  expect(performance.now() - start).toBeLessThan(1000);
  expect(accepted.destroyed).toBe(true);
});

test('an end that closes, or is not there, is told', async () => {
  const [dialed, accepted] = await pair();
  dialed.end('FOUR');
  await expect(welcome(socketStream(accepted), SECRET, accept)).rejects.toThrow('it closed the connection');
  const [server, port] = await listening();
  server.close();
  const nobody = connect(port, '127.0.0.1');
  const introducing = within(1000, nobody, introduce(socketStream(nobody), SECRET, HELLO));
  await expect(introducing).rejects.toThrow('ECONNREFUSED');
});

test('a stream reads exact counts, across packets, and leaves the rest to the next reader', async () => {
  const [dialed, accepted] = await pair();
  const stream = socketStream(accepted);
  const first = stream.read(5);
  dialed.write('abc');
  await sleep(20);
  dialed.write('defgh');
  expect(Buffer.from(await first).toString()).toBe('abcde');
  expect(await stream.read(0)).toHaveLength(0);
  expect(Buffer.from(await stream.read(1)).toString()).toBe('f');
  const [rest] = (await once(accepted, 'data')) as [Buffer];
  expect(rest.toString()).toBe('gh');
});

test('a read of more bytes than Node buffers ends too', async () => {
  const [dialed, accepted] = await pair();
  dialed.write(Buffer.alloc(300_000, 7));
  expect(Buffer.alloc(300_000, 7).equals(await socketStream(accepted).read(300_000))).toBe(true);
});

test('a door lets ranks in past a crowd of silent strangers, of whom 64 may wait', async () => {
  const [server, port] = await listening();
  const entered: Hello[] = [];
  const sendAway = guard(server, { secret: SECRET, refuse: accept, enter: (_, hello) => entered.push(hello) });
  const crowd = Array.from({ length: 100 }, () =>
    connect(port, '127.0.0.1')
      .on('error', () => {})
      .resume(),
  );
  open.push(...crowd);
  let accepted = 0;
  server.on('connection', () => {
    accepted += 1;
  });
  while (accepted < 100) await sleep(5);
  const dialed = connect(port, '127.0.0.1');
  open.push(dialed);
  await within(1000, dialed, introduce(socketStream(dialed), SECRET, HELLO));
  await sleep(50);
  expect(entered).toEqual([HELLO]);
  expect(crowd.filter((socket) => !socket.destroyed)).toHaveLength(63); // 64 with the rank, before it went in
  sendAway();
  await sleep(50);
  expect(crowd.filter((socket) => !socket.destroyed)).toHaveLength(0);
  expect(dialed.destroyed).toBe(false);
});

test('a stranger who says nothing stays for five seconds', async () => {
  const [server, port] = await listening();
  guard(server, { secret: SECRET, refuse: accept, enter: () => {} });
  vi.useFakeTimers({ toFake: ['setTimeout'] }); // the door's clock; sockets have their own
  const stranger = connect(port, '127.0.0.1').resume();
  const closed = once(stranger, 'close');
  await once(server, 'connection');
  vi.advanceTimersByTime(4999);
  const turns = new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  await turns;
  expect(stranger.destroyed).toBe(false);
  vi.advanceTimersByTime(1);
  vi.useRealTimers();
  await closed;
});

test('inTime gives the result, the error, or what it says when it is late', async () => {
  expect(await inTime(1000, Promise.resolve(3), () => new Error('late'))).toBe(3);
  await expect(inTime(1000, Promise.reject(new Error('own')), () => new Error('late'))).rejects.toThrow('own');
  await expect(inTime(10, sleep(500), () => new Error('late'))).rejects.toThrow('late');
});

test('a machine by itself needs no secret, several do, and a short one is never enough', () => {
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) {
    expect(isLoopback(host)).toBe(true);
    expect(checkSecret(undefined, host)).toBe('');
    expect(checkSecret('', host)).toBe('');
    expect(() => checkSecret('short', host)).toThrow(UserError);
  }
  expect(checkSecret(SECRET, '10.0.0.1')).toBe(SECRET);
  for (const host of ['10.0.0.1', 'node7', '0.0.0.0', '::', '127.0.0.1.example.org']) {
    expect(() => checkSecret(undefined, host)).toThrow(
      `FOURFOLD_SECRET is missing, and ${host} is reached over a network: ` +
        'it must have at least 16 characters, the same on every host',
    );
    expect(() => checkSecret('fifteen letters', host)).toThrow(
      'FOURFOLD_SECRET is too short: it must have at least 16 characters, the same on every host',
    );
  }
});
