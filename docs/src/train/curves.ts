/**
 * Loss curves as they grow, over those of the layouts before: what to draw, and how far they lie apart.
 *
 *     loss │╲
 *          │ ╲╲__          x: steps, y: nats a byte; the newest on top, all on the same scale
 *          └────────
 */

export interface Curve {
  readonly label: string;
  /** losses[i] is that of step i + 1. */
  readonly losses: readonly number[];
}

export interface Frame {
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly low: number;
  readonly high: number;
}

/** A frame that holds all curves: whole nats below and above, steps in fifties. */
export function frameOf(curves: readonly Curve[], width: number, height: number): Frame {
  const losses = curves.flatMap((curve) => curve.losses);
  const steps = 50 * Math.max(1, Math.ceil(Math.max(0, ...curves.map((curve) => curve.losses.length)) / 50));
  const low = Math.floor(Math.min(...losses, 5));
  return { width, height, steps, low, high: Math.max(low + 1, Math.ceil(Math.max(...losses, 0.001))) };
}

export const xOf = ({ width, steps }: Frame, step: number): number => (width * step) / steps;
export const yOf = ({ height, low, high }: Frame, loss: number): number => (height * (high - loss)) / (high - low);

/** A curve as an SVG polyline's points. */
export const pointsOf = (frame: Frame, { losses }: Curve): string =>
  losses.map((loss, i) => `${xOf(frame, i + 1).toFixed(1)},${yOf(frame, loss).toFixed(1)}`).join(' ');

export interface Apart {
  /** How many steps both have. */
  readonly steps: number;
  /** The largest difference of their losses, as a part of the loss. */
  readonly relative: number;
}

/** How far two curves lie apart, over the steps that both have; at most `most` of them. */
export function apart(a: Curve, b: Curve, most = Number.POSITIVE_INFINITY): Apart {
  const steps = Math.min(a.losses.length, b.losses.length, most);
  const differences = Array.from({ length: steps }, (_, i) => {
    const [one, other] = [a.losses[i] as number, b.losses[i] as number];
    return Math.abs(one - other) / Math.abs(one);
  });
  return { steps, relative: Math.max(0, ...differences) };
}
