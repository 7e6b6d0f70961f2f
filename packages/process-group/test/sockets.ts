/** Sockets on loopback whose other ends are in the test's hands. */
import net from 'node:net';
import { onTestFinished } from 'vitest';
import { Connection } from '../src/tcp/connection.ts';
import { type Endpoint, openEndpoint } from '../src/tcp/endpoint.ts';
import { Inlet } from '../src/tcp/inlet.ts';
import type { Store } from '../src/tcp/store.ts';

/** The two ends of a new connection: `dial` makes the first, the server accepts the second. */
export async function pair<S>(dial: (port: number) => S): Promise<{ dialed: S; accepted: net.Socket }> {
  const server = net.createServer({ noDelay: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const arrival = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const dialed = dial((server.address() as net.AddressInfo).port);
  const accepted = await arrival;
  accepted.on('error', () => {});
  server.close();
  onTestFinished(() => void accepted.destroy());
  return { dialed, accepted };
}

/** An inlet and the socket that writes to it. */
export async function inletPair(): Promise<{ inlet: Inlet; writer: net.Socket }> {
  const { dialed: inlet, accepted: writer } = await pair((port) => new Inlet('127.0.0.1', port));
  onTestFinished(() => void inlet.socket.destroy());
  return { inlet, writer };
}

export interface Ended {
  readonly connection: Connection;
  /** What the connection said of its peer, in order. */
  readonly said: string[];
  /** Writes bytes to the connection, as the peer. */
  readonly writer: net.Socket;
  /** Reads what the connection sends, as the peer. It reads nothing before it is resumed. */
  readonly reader: net.Socket;
}

/** A connection whose peer is the test. */
export async function connectionToTest(): Promise<Ended> {
  const { inlet, writer } = await inletPair();
  const { dialed: reader, accepted: outlet } = await pair((port) => net.connect(port, '127.0.0.1'));
  reader.on('error', () => {});
  onTestFinished(() => void reader.destroy());
  const said: string[] = [];
  const connection = new Connection(inlet, outlet, {
    goodbye: () => void said.push('goodbye'),
    failed: (words) => void said.push(`failed: ${words}`),
    broken: (why) => {
      said.push(`broken: ${why}`);
      connection.fail(new Error(why)); // as the endpoint does
    },
  });
  return { connection, said, writer, reader };
}

/** The bytes of a frame: kind, length, group and number, and what it carries. */
export function frame(kind: number, group: number, number: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(16);
  for (const [i, value] of [kind, payload.length, group, number].entries()) header.writeUInt32LE(value, 4 * i);
  return Buffer.concat([header, payload]);
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition` holds; fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  for (const start = performance.now(); !condition(); await sleep(2))
    if (performance.now() - start > 5000) throw new Error('it never came to pass');
}

// ## Endpoints

/** A store in this process's memory. */
export function memoryStore(): Store {
  const values = new Map<string, string>();
  return {
    set: async (key, value) => void values.set(key, value),
    get: async (key) => {
      await until(() => values.has(key));
      return values.get(key) as string;
    },
    localAddress: '127.0.0.1',
    close: async () => {},
  };
}

/** The endpoints of a world in this process; they are torn down with the test. */
export async function endpoints(worldSize: number, timeout = 5000): Promise<Endpoint[]> {
  const store = memoryStore();
  const options = { worldSize, attempt: 0, secret: 'sixteen letters!', store, meetingTimeout: 5000, timeout };
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
  const all = await Promise.all(ranks.map((rank) => openEndpoint({ ...options, rank })));
  onTestFinished(async () => void (await Promise.all(all.map((endpoint) => endpoint.close()))));
  return all;
}
