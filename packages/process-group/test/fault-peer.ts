/** A rank that knows the secret and lies: it meets rank 0 as rank 1 of 2, and then sends whatever a test likes. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { guard, introduce, socketStream } from '../src/tcp/handshake.ts';
import { dialStore } from '../src/tcp/store.ts';
import { environmentOf } from './worlds.ts';

const host = '127.0.0.1';
const secret = environmentOf(1, 2, 1)['FOURFOLD_SECRET'] as string;
const hello = { rank: 1, worldSize: 2, attempt: 0 };

export interface FalsePeer {
  /** What is written here, rank 0 reads; nothing else may come this way. */
  readonly inlet: Socket;
  /** What rank 0 writes; nothing may go that way. */
  readonly outlet: Socket;
  /** The number of the world's group. */
  readonly group: number;
}

/** Meets rank 0, whose store is at `port`, and ends the barrier with which a world begins: its collective 0. */
export async function meetFalsely(port: number): Promise<FalsePeer> {
  const { inlet, outlet, stream } = await connectWith(port);
  const header = Buffer.from(await stream.read(16));
  const words = await stream.read(header.readUInt32LE(4));
  const group = header.readUInt32LE(8);
  inlet.write(frame({ group, number: 0 }, words));
  outlet.on('data', () => {}); // takes the rest
  return { inlet, outlet, group };
}

/** Both connections with rank 0; `onInlet` hears of the one that rank 0 dials before the other is there. */
export async function connectWith(port: number, onInlet: (inlet: Socket) => void = () => {}) {
  const store = await dialStore({ ...hello, host, port, secret, timeoutMs: 20_000 });
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const entered = new Promise<Socket>((resolve) => guard(server, { secret, refuse: () => undefined, enter: resolve }));
  await store.set('address of rank 1', JSON.stringify({ host, port: (server.address() as AddressInfo).port }));
  const { port: door } = JSON.parse(await store.get('address of rank 0', 0)) as { port: number };
  const inlet = await entered;
  inlet.on('error', () => {});
  onInlet(inlet);
  server.close();
  await store.close();
  const outlet = connect(door, host);
  const stream = socketStream(outlet);
  await introduce(stream, secret, { ...hello, purpose: 'peer' });
  return { inlet, outlet, stream };
}

interface Header {
  readonly kind?: number;
  /** Default: the payload's own. */
  readonly length?: number;
  readonly group?: number;
  readonly number?: number;
}

/** A frame as src/tcp/connection.ts describes it, true or not. */
export function frame({ kind = 0, length, group = 0, number = 0 }: Header, payload: Uint8Array | string = ''): Buffer {
  const bytes = Buffer.from(payload);
  const header = Buffer.alloc(16);
  for (const [i, value] of [kind, length ?? bytes.length, group, number].entries()) header.writeUInt32LE(value, 4 * i);
  return Buffer.concat([header, bytes]);
}
