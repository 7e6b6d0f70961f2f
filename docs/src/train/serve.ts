/**
 * The worker's side: it opens a backend and the text, trains, and takes orders between two steps.
 */
import { messageOf } from '@fourfold/runtime';
import { openPageBackend } from '@fourfold/runtime/page';
import { Gate } from './gate.ts';
import type { Order, Reply } from './messages.ts';
import { trainInPage } from './run.ts';
import { tokensOf } from './text.ts';

type Start = Extract<Order, { kind: 'start' }>;

/** Takes orders by the function that it returns, and replies by `reply`. A worker trains once. */
export function serve(reply: (reply: Reply) => void, wasmPaths: Readonly<Record<string, string>>) {
  const gate = new Gate();
  return (order: Order): void => {
    if (order.kind === 'pause') gate.close();
    else if (order.kind === 'go on') gate.open();
    else start(order, wasmPaths, gate, reply).catch((error) => reply({ kind: 'failed', message: messageOf(error) }));
  };
}

async function start(order: Start, wasmPaths: Readonly<Record<string, string>>, gate: Gate, tell: (r: Reply) => void) {
  const { choices, device, textAddress } = order;
  const [backend, text] = await Promise.all([openPageBackend({ device, wasmPaths }), fetchText(textAddress)]);
  tell({ kind: 'opened', backend: backend.description });
  await trainInPage({ choices, backend, text: tokensOf(text), tell, between: () => ordersThen(gate) });
}

/** The text at an address. */
async function fetchText(address: string): Promise<string> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`the text at ${address} can't be had: ${response.status} ${response.statusText}`);
  return response.text();
}

/** Lets orders in, which wait while ranks compute, and goes on when the gate is open. */
async function ordersThen(gate: Gate): Promise<void> {
  await new Promise<void>((done) => setTimeout(done));
  await gate.pass();
}
