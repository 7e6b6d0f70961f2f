import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { UserError } from '@fourfold/runtime/errors';
import { afterEach, expect, test } from 'vitest';
import { freePort } from '../src/launch/machine.ts';
import { introduce, Stranger, socketStream } from '../src/tcp/handshake.ts';
import { type DialOptions, dialStore, knock, type Store, serveStore } from '../src/tcp/store.ts';

const SECRET = 'sixteen letters!';
const WORLD = { host: '127.0.0.1', port: 0, secret: SECRET, worldSize: 4, attempt: 0, timeoutMs: 5000 };

const stores: Store[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const store of stores.splice(0).reverse()) await store.close();
});

async function serve(options: Partial<DialOptions> = {}) {
  const store = await serveStore({ ...WORLD, ...options });
  stores.push(store);
  return store;
}

async function dial(port: number, rank: number, options: Partial<DialOptions> = {}) {
  const store = await dialStore({ ...WORLD, port, rank, ...options });
  stores.push(store);
  return store;
}

/** A connection that is in, without a Store around it. */
async function member(port: number, rank: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  await introduce(socketStream(socket), SECRET, { purpose: 'store', rank, worldSize: 4, attempt: 0 });
  return socket;
}

test('what any rank sets, all ranks get, before and after', async () => {
  const zero = await serve();
  const [one, two] = await Promise.all([dial(zero.port, 1), dial(zero.port, 2)]);
  const early = [zero.get('x'), one.get('x', 2), two.get('x')];
  await two.set('x', 'a\n"b" €');
  expect(await Promise.all([...early, one.get('x')])).toEqual(Array(4).fill('a\n"b" €'));
  await zero.set('y', '');
  expect(await one.get('y', 0)).toBe('');
  await one.set('x', 'new');
  expect(await zero.get('x')).toBe('new');
  expect([zero.localAddress, one.localAddress]).toEqual(['127.0.0.1', '127.0.0.1']);
});

test('a value of 65000 characters travels, one of 66000 is refused where it is set', async () => {
  const zero = await serve();
  const one = await dial(zero.port, 1);
  await one.set('x', 'a'.repeat(65_000));
  expect(await zero.get('x')).toHaveLength(65_000);
  expect(await one.get('x')).toHaveLength(65_000);
  for (const store of [zero, one])
    await expect(store.set('x', 'a'.repeat(66_000))).rejects.toThrow('does not fit into a line of 65536');
});

test('a port that is taken is told at once', async () => {
  const { port } = await serve();
  const second = serveStore({ ...WORLD, port });
  await expect(second).rejects.toThrow(UserError);
  await expect(second).rejects.toThrow(`127.0.0.1:${port} is taken by another program: choose another MASTER_PORT`);
});

test('a host that is not this machine, or that nobody is called, is told', async () => {
  const elsewhere = serveStore({ ...WORLD, host: '198.51.100.7' });
  await expect(elsewhere).rejects.toThrow(
    new UserError('198.51.100.7 is no address of this machine, where rank 0 runs: set MASTER_ADDR to one that is'),
  );
  await expect(serveStore({ ...WORLD, host: 'no.such.host.invalid' })).rejects.toThrow(
    new UserError("no host is called no.such.host.invalid: set MASTER_ADDR to rank 0's name or address"),
  );
});

test('only the host that was asked for is listened on', async () => {
  const { port } = await serve();
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const others = ['::1', ...own.filter(({ family, internal }) => family === 'IPv4' && !internal).map((a) => a.address)];
  for (const host of others) await once(connect(port, host), 'error'); // and not 'connect'
});

test('between hosts a secret is needed, on both ends', async () => {
  const bare = { ...WORLD, host: '10.0.0.1', secret: '' };
  await expect(serveStore(bare)).rejects.toThrow('FOURFOLD_SECRET is missing');
  await expect(dialStore({ ...bare, rank: 1 })).rejects.toThrow('FOURFOLD_SECRET is missing');
});

test('a rank that is earlier than rank 0 waits for it', async () => {
  const port = await freePort();
  const early = dial(port, 1);
  await sleep(200);
  const zero = await serve({ port });
  await (await early).set('x', '1');
  expect(await zero.get('x')).toBe('1');
});

test('nobody there: the time asked for, then one sentence', async () => {
  const port = await freePort();
  const start = performance.now();
  const dialing = dialStore({ ...WORLD, port, rank: 1, timeoutMs: 300 });
  await expect(dialing).rejects.toThrow(
    new UserError(`rank 1: no answer from 127.0.0.1:${port} within 0.3 s: is rank 0 running, and is the port open?`),
  );
  expect(performance.now() - start).toBeLessThan(1500);
});

test('a host that swallows connections takes no longer than the time asked for', async () => {
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  silent.on('connection', (socket) => sockets.push(socket.on('error', () => {}).resume()));
  const start = performance.now();
  await expect(dialStore({ ...WORLD, port, rank: 1, timeoutMs: 300 })).rejects.toThrow('within 0.3 s');
  expect(performance.now() - start).toBeLessThan(1500);
  silent.close();
});

test('a host that nobody is called is told when the time is over', async () => {
  const dialing = dialStore({ ...WORLD, host: 'no.such.host.invalid', port: 1, rank: 1, timeoutMs: 100 });
  await expect(dialing).rejects.toThrow(/rank 1: (no host is called|no answer from) no\.such\.host\.invalid/);
});

test.each([
  [{ rank: 3, worldSize: 8 }, 'rank 3 was started with WORLD_SIZE=8, rank 0 with 4'],
  [{ rank: 4 }, 'RANK=4 is out of range for WORLD_SIZE=4: use 0 to 3'],
  [{ rank: 0 }, 'rank 0 is connected already: give each process a RANK of its own'],
  [{ rank: 1 }, 'rank 1 is connected already: give each process a RANK of its own'],
  [{ rank: 2, attempt: 1 }, 'rank 2 is of attempt 1 of this run, rank 0 of 0'],
])('rank 0 refuses %o', async (wrong, sentence) => {
  const zero = await serve();
  await dial(zero.port, 1);
  await expect(dial(zero.port, 2, wrong)).rejects.toThrow(new UserError(sentence));
});

test('of several processes that claim one rank at the same time, one gets it', async () => {
  const zero = await serve();
  const claims = await Promise.allSettled(Array.from({ length: 10 }, () => dial(zero.port, 1)));
  expect(claims.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
});

test('a peer that mistakes the store for another peer is refused', async () => {
  const zero = await serve();
  const socket = connect(zero.port, '127.0.0.1');
  sockets.push(socket);
  const hello = { purpose: 'peer', rank: 1, worldSize: 4, attempt: 0 } as const;
  await expect(introduce(socketStream(socket), SECRET, hello)).rejects.toThrow(
    "rank 1 looks for a peer where rank 0's store is",
  );
});

test('another secret, and another program: said at once, by name', async () => {
  const zero = await serve();
  const hint = 'check MASTER_PORT, and that FOURFOLD_SECRET is the same on every host';
  const where = (port: number) => `rank 1: what answers at 127.0.0.1:${port} is not rank 0`;
  await expect(dial(zero.port, 1, { secret: 'another secret!!' })).rejects.toThrow(
    new UserError(`${where(zero.port)}, it does not know the secret: ${hint}`),
  );
  const web = createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
  await once(web, 'listening');
  const { port } = web.address() as AddressInfo;
  await expect(dial(port, 1)).rejects.toThrow(new UserError(`${where(port)}, it speaks another protocol: ${hint}`));
  await expect(knock({ ...WORLD, port, rank: 1 }, 1000)).rejects.toThrow(Stranger);
  web.close();
});

test('noise, silence, lies and broken requests disturb nobody', async () => {
  const zero = await serve();
  const one = await dial(zero.port, 1);
  const strangers = ['GET / HTTP/1.1\r\n\r\n', '\0'.repeat(5000), 'FOURFLD\x01', ''].map((noise) => {
    const socket = connect(zero.port, '127.0.0.1', () => socket.write(noise)).on('error', () => {});
    sockets.push(socket.resume());
    return socket;
  });
  const liars = await Promise.all([member(zero.port, 2), member(zero.port, 3)]);
  liars[0]?.resume().write('{"id":1,"value":"no key"}\n');
  liars[1]?.resume().write('x'.repeat(70_000));
  await Promise.all(
    liars.map((socket) =>
      once(
        socket.on('error', () => {}),
        'close',
      ),
    ),
  );
  await one.set('x', '1');
  expect(await zero.get('x')).toBe('1');
  expect(strangers.map(({ destroyed }) => destroyed)).toEqual([true, true, false, false]); // these have 5 s to go on
  await expect(dial(zero.port, 2)).resolves.toBeDefined(); // its place is free again
});

test('a value that nobody sets: the time asked for, then its owner is named', async () => {
  const zero = await serve({ timeoutMs: 100 });
  const one = await dial(zero.port, 1, { timeoutMs: 100 });
  await expect(zero.get('address/3', 3)).rejects.toThrow(
    new UserError("rank 0: 'address/3' was not set by rank 3 within 0.1 s: are all ranks running?"),
  );
  await expect(one.get('x')).rejects.toThrow(
    new UserError("rank 1: 'x' was not set within 0.1 s: are all ranks running?"),
  );
});

test('a rank that dies ends the waiting for what it was to set', async () => {
  const zero = await serve();
  const [one, three] = [await dial(zero.port, 1), await member(zero.port, 3)];
  const waiting = Promise.allSettled([zero.get('address/3', 3), one.get('address/3', 3)]);
  await sleep(50); // the request is there
  three.destroy();
  const sentences = (await waiting).map((outcome) => (outcome as PromiseRejectedResult).reason.message);
  expect(sentences).toEqual([
    "rank 0: rank 3 left without having set 'address/3'",
    "rank 1: rank 3 left without having set 'address/3'",
  ]);
});

test('when rank 0 goes, who waits and who asks later learn it at once', async () => {
  const zero = await serve();
  const one = await dial(zero.port, 1);
  const waiting = Promise.allSettled([one.get('address/3', 3), zero.get('y')]);
  await zero.close();
  const sentences = (await waiting).map((outcome) => (outcome as PromiseRejectedResult).reason.message);
  expect(sentences).toEqual([
    `rank 1: rank 0's store at 127.0.0.1:${zero.port} closed before 'address/3' was set by rank 3`,
    "rank 0: the store was closed before 'y' was set",
  ]);
  await expect(one.set('x', '1')).rejects.toThrow("closed before 'x' was set");
  await one.close();
});

test('an answer that was sent before the store closed still arrives', async () => {
  const zero = await serve();
  const others = await Promise.all([1, 2, 3].map((rank) => dial(zero.port, rank)));
  const waiting = Promise.all(others.map((store) => store.get('last')));
  await sleep(50);
  await zero.set('last', 'word');
  await zero.close();
  expect(await waiting).toEqual(['word', 'word', 'word']);
});

test('once all is closed, nothing keeps a process alive', async () => {
  const script = `
    import { connect } from 'node:net';
    import { dialStore, serveStore } from '${fileURLToPath(new URL('../src/tcp/store.ts', import.meta.url))}';
    const world = { host: '127.0.0.1', secret: '', worldSize: 2, attempt: 0, timeoutMs: 60_000 };
    const zero = await serveStore({ ...world, port: 0 });
    const one = await dialStore({ ...world, port: zero.port, rank: 1 });
    connect(zero.port, '127.0.0.1').on('error', () => {}).resume(); // a silent stranger
    one.get('x').catch(() => {}); // a value that will not come
    await one.set('y', '1');
    await one.close();
    await zero.close();
    console.log('closed');`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
  const output: Buffer[] = [];
  child.stdout.on('data', (bytes) => output.push(bytes));
  child.stderr.on('data', (bytes) => output.push(bytes));
  const start = performance.now();
  const [code] = await once(child, 'exit');
  expect([Buffer.concat(output).toString(), code]).toEqual(['closed\n', 0]);
  expect(performance.now() - start).toBeLessThan(20_000); // not the 60 s of the waiting get
});
