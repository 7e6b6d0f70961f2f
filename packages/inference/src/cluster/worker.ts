/**
 * A worker: waits at a port for a root, holds a share of its model, and computes with it until the root leaves.
 *
 *     const worker = await startWorker({ host: '127.0.0.1', port: 9998, secret, ... })
 *
 * One port takes all: the root's connection, and the lanes from the root and from workers of higher rank. Who dials it
 * proves that it knows the secret before anything else is read; a stranger is told nothing, and is logged once. One
 * root at a time: another is told who is being served.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { checkSecret, guard, type Hello } from '@fourfold/process-group/handshake';
import { messageOf, UserError } from '@fourfold/runtime/errors';
import { Control } from './control.ts';
import { nameOf } from './offer.ts';
import { Session, type SessionOptions } from './session.ts';

export interface WorkerOptions extends SessionOptions {
  /** An address of this machine: loopback, or one that other machines reach, for which the secret is a must. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** How long the root may be silent before it counts as gone. */
  readonly timeoutMs: number;
}

export interface Worker {
  readonly host: string;
  readonly port: number;
  /** Ends the session at hand and lets go of the port. */
  close(): Promise<void>;
}

/** Strangers that are remembered so as to be logged once. */
const MAX_STRANGERS = 1000;

/**
 * Opens the port.
 *
 * @throws UserError where it is taken, the host is no address of this machine, or the secret won't do
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { host, port, secret, log } = options;
  const door = new WorkersDoor({ ...options, secret: checkSecret(secret, host) });
  const server = createServer({ noDelay: true, keepAlive: true });
  const sendAway = guard(server, door);
  await listen(server, host, port);
  const { address, port: chosen } = server.address() as AddressInfo;
  log(`waits for a root at ${nameOf({ host: address, port: chosen })}`);
  const close = () =>
    new Promise<void>((resolve) => {
      sendAway();
      door.close();
      server.close(() => resolve());
    });
  return { host: address, port: chosen, close };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  const trouble: Record<string, string> = {
    EADDRINUSE: `--port ${port} is taken by another program: choose another`,
    EADDRNOTAVAIL: `--host ${host} is no address of this machine`,
    EACCES: `--port ${port} is kept for the system: choose one from 1024 to 65535`,
  };
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new UserError(trouble[error.code ?? ''] ?? `--host ${host} --port ${port}: ${messageOf(error)}`));
    });
    server.listen({ host, port }, resolve);
  });
}

/** Who may come in, and where to. */
class WorkersDoor {
  readonly secret: string;
  readonly #options: WorkerOptions;
  readonly #strangers = new Set<string>();
  #session: Session | undefined;
  #root: Control | undefined;

  constructor(options: WorkerOptions) {
    this.secret = options.secret;
    this.#options = options;
  }

  readonly refuse = ({ purpose, rank, attempt }: Hello): string | undefined => {
    if (purpose === 'lane') return this.#session ? this.#session.refuseLane(attempt, rank) : 'no session is open here';
    if (purpose !== 'root') return 'this is a worker, and waits for a root';
    return this.#root ? `it serves ${this.#root.name}` : undefined;
  };

  readonly enter = (socket: Socket, { purpose, rank }: Hello): void => {
    if (purpose === 'lane') this.#session?.enterLane(rank, socket);
    else void this.#serve(socket);
  };

  readonly turnedAway = ({ remoteAddress = '' }: Socket, error: Error): void => {
    if (this.#strangers.has(remoteAddress) || this.#strangers.size >= MAX_STRANGERS) return;
    this.#strangers.add(remoteAddress);
    this.#options.log(`turned ${remoteAddress || 'somebody'} away: ${messageOf(error)}`);
  };

  close(): void {
    this.#root?.close();
  }

  async #serve(socket: Socket): Promise<void> {
    const { timeoutMs, log } = this.#options;
    if (this.#root) return void socket.destroy(); // two came at once
    const name = `the root at ${nameOf({ host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 })}`;
    this.#root = new Control(socket, name, timeoutMs);
    this.#session = new Session(this.#root, { ...this.#options, secret: this.secret });
    await this.#session.run();
    this.#root = undefined;
    this.#session = undefined;
    log('waits for the next root');
  }
}
