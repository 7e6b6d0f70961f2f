/** What the page and its worker say to each other. */
import type { Choices } from './choices.ts';
import type { News } from './run.ts';

export type Device = 'wasm' | 'webgpu';

/** From the page. */
export type Order =
  | { readonly kind: 'start'; readonly choices: Choices; readonly device: Device; readonly textAddress: string }
  | { readonly kind: 'pause' }
  | { readonly kind: 'go on' };

/** From the worker. */
export type Reply =
  | News
  | { readonly kind: 'opened'; readonly backend: string }
  | { readonly kind: 'failed'; readonly message: string };
