/**
 * A server's life: it listens, answers, and when asked to stop, lets answers finish before it does.
 *
 *     SIGTERM ──► new requests get 503 ──► running answers finish, --grace seconds at most ──► the port closes
 */
import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { createAdaptorServer } from '@hono/node-server';
import type { Engine } from '../engine/engine.ts';
import { createApp, type Service } from './app.ts';

export interface ServerOptions extends Omit<Service, 'isStopping'> {
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
}

export interface RunningServer {
  readonly url: string;
  /** Stops: at once where nothing is asked, else when the answers are done or `grace` milliseconds have passed. */
  stop(grace: number): Promise<void>;
}

/** Milliseconds in which a client has to have sent its request, and between two looks at what still runs. */
const RECEIVE = 30_000;
const LOOK = 20;

/** @throws UserError where the port can't be had */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  let isStopping = false;
  const app = createApp({ ...options, isStopping: () => isStopping });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.requestTimeout = RECEIVE;
  server.headersTimeout = RECEIVE;
  server.timeout = options.timeout + RECEIVE; // a connection on which nothing moves
  await listen(server, options);
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${host}:${port}`,
    async stop(grace) {
      isStopping = true;
      await idle(options.engine, grace);
      server.close();
      server.closeIdleConnections();
      await wait(LOOK); // the last bytes of the last answers
      server.closeAllConnections();
    },
  };
}

async function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    throw new UserError(`port=${port} of host=${host} can't be had (${messageOf(error)}): choose another`);
  }
}

async function idle(engine: Engine, grace: number): Promise<void> {
  const until = performance.now() + grace;
  while (engine.running + engine.waiting > 0 && performance.now() < until) await wait(LOOK);
}
