/**
 * The learning rate over a run: a warm-up in a straight line, and then one of four shapes.
 *
 *   constant   ────────      linear  ╲       cosine  half a wave       wsd  ─────╲  (warm-up, stable, decay)
 *
 * All but constant fall to finalFraction of the peak, which the step after the last would have. Steps count from 0.
 * Warm-up's first step has rate peak / warmupSteps, not zero.
 */
export type ScheduleName = 'constant' | 'linear' | 'cosine' | 'wsd';

/** How the learning rate changes over a run. */
export interface Schedule {
  /** Its shape after the warm-up. */
  readonly schedule: ScheduleName;
  /** The peak. */
  readonly learningRate: number;
  /** All steps of the run, warm-up included. */
  readonly steps: number;
  /** Steps in which it rises. */
  readonly warmupSteps: number;
  /** What part of the peak is left at the end, 0 to 1 (constant: not used). */
  readonly finalFraction: number;
  /** wsd: the last part of the run in which the rate falls, 0 to 1 (0.2: a fifth). */
  readonly decayFraction: number;
}

/** The learning rate of step `step`, counted from 0. */
export function learningRateAt(step: number, s: Schedule): number {
  if (step < s.warmupSteps) return (s.learningRate * (step + 1)) / s.warmupSteps;
  const progress = Math.min(1, (step - s.warmupSteps) / Math.max(1, s.steps - s.warmupSteps));
  return s.learningRate * (s.finalFraction + (1 - s.finalFraction) * heightAt(progress, step, s));
}

/** From 1 at the peak to 0 at the end. */
function heightAt(progress: number, step: number, s: Schedule): number {
  switch (s.schedule) {
    case 'constant':
      return 1;
    case 'linear':
      return 1 - progress;
    case 'cosine':
      return (1 + Math.cos(Math.PI * progress)) / 2;
    case 'wsd': {
      const falling = Math.max(1, Math.min(s.steps * s.decayFraction, s.steps - s.warmupSteps));
      return Math.min(1, Math.max(0, s.steps - step) / falling);
    }
  }
}
