import net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Control, HEADER_BYTES, parseBody } from '../src/cluster/control.ts';

const open: { destroy(): void }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.destroy();
});

/** Two ends of a connection on loopback; the first as a control, the other as it is. */
async function connected(timeoutMs = 5000): Promise<{ control: Control; peer: net.Socket }> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const arrival = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const peer = await arrival;
  server.close();
  open.push(peer, socket);
  return { control: new Control(socket, 'worker 10.0.0.2:9998', timeoutMs), peer };
}

test('frames arrive whole and in order, however they are cut, and are counted', async () => {
  const { control, peer } = await connected();
  const other = new Control(peer, 'the root', 5000);
  other.tell('offer', { rank: 3 });
  other.send('bytes', new Uint8Array(1 << 20).fill(7));
  other.send('met');
  expect(parseBody(await control.expect('offer'))).toEqual({ rank: 3 });
  expect((await control.expect('bytes')).every((byte) => byte === 7)).toBe(true);
  expect((await control.expect('met')).length).toBe(0);
  expect(control.traffic.received).toBe(other.traffic.sent);
  expect(other.traffic.sent).toBe(3 * HEADER_BYTES + 10 + (1 << 20));
});

test('what is no frame, too long, or not due ends the connection', async () => {
  for (const header of [
    [255, 0, 0, 0, 0],
    [1, 255, 255, 255, 255],
    [1, 1, 0, 16, 0],
  ]) {
    const { control, peer } = await connected();
    peer.write(Uint8Array.from(header));
    await expect(control.next()).rejects.toThrow('worker 10.0.0.2:9998 sent what is no frame of ours');
  }
  const { control, peer } = await connected();
  new Control(peer, 'the root', 5000).send('met');
  await expect(control.expect('answer')).rejects.toThrow("worker 10.0.0.2:9998 said 'met' where 'answer' was due");
});

test('random bytes never leave it waiting with a frame of more than a MiB, and never throw elsewhere', async () => {
  for (let seed = 1; seed <= 50; seed++) {
    const { control, peer } = await connected();
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => Math.imul(seed * 7919 + i, 2654435761) >>> 24);
    peer.end(bytes);
    const drain = async () => {
      for (;;) await control.next();
    };
    await expect(drain()).rejects.toThrow(/^worker 10.0.0.2:9998 /);
  }
});

test('its failure is told in its words, its silence in seconds', async () => {
  const { control, peer } = await connected();
  new Control(peer, 'the root', 5000).send('failure', Buffer.from('no memory'));
  await expect(control.next()).rejects.toThrow('worker 10.0.0.2:9998 says: no memory');
  const silent = await connected(200);
  await expect(silent.control.next()).rejects.toThrow('worker 10.0.0.2:9998 has been silent for 0.2 s');
});

test('two that only ping each other stay connected', async () => {
  const { control, peer } = await connected(200);
  const other = new Control(peer, 'the root', 200);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  expect([control.failure, other.failure]).toEqual([undefined, undefined]);
  expect(control.traffic).toEqual({ sent: 0, received: 0 });
});
