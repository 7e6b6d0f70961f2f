/**
 * Which token comes next, given the logits of all.
 *
 *     p_v = exp(logit_v / temperature) / Σ        0 takes the likeliest; 1 is what the model believes; more is wilder
 *     top_k                                       of the k likeliest only
 *     top_p                                       of the nucleus only: the fewest likeliest tokens that together have
 *                                                 at least top_p (Holtzman et al., "The curious case of neural text
 *                                                 degeneration", 2020)
 *
 * Equal logits stand in the order of their ids. A token is drawn by a number that depends on the request's seed and on
 * how many tokens came before it, and on nothing else: the same request writes the same text whatever else is in its
 * batch. The chosen token's log-probability is the model's own, before temperature and the two cuts.
 */
import { keyOf, uniforms } from '@fourfold/runtime/random';
import type { Logits, Row } from './decoder.ts';

/** How the next token is chosen from its logits. */
export interface Sampling {
  /** At least 0. */
  readonly temperature: number;
  /** Above 0 and up to 1, which keeps all. */
  readonly topP: number;
  /** 0 keeps all. */
  readonly topK: number;
  /** Of the draws: the same seed gives the same text. */
  readonly seed: number;
  /** Which of several answers to one prompt this is, from 0: each draws its own numbers. Default 0. */
  readonly choice?: number;
  /** How many of the likeliest tokens to tell, with their log-probabilities; 0 for none. */
  readonly alternatives: number;
  /** What is added to the logits of some tokens, by id. */
  readonly bias?: ReadonlyMap<number, number> | undefined;
}

/** A token and its natural log-probability. */
export interface Scored {
  /** Its id. */
  readonly token: number;
  /** By the model itself, before temperature and cuts. */
  readonly logProbability: number;
}

/** The token that was chosen, and the likeliest ones where they were asked for. */
export interface Chosen extends Scored {
  /** The likeliest tokens, likeliest first; empty where none were asked for. */
  readonly alternatives: readonly Scored[];
}

/** Takes the likeliest token, always. */
export const greedy: Sampling = { temperature: 0, topP: 1, topK: 0, seed: 0, alternatives: 0 };

/** What a row has to ask of the decoder: few logits travel where few suffice. */
export function wantedFor({ temperature, topK, alternatives, bias }: Sampling): Row['wanted'] {
  if (bias && bias.size > 0) return 'all';
  if (temperature === 0) return Math.max(1, alternatives);
  return topK > 0 ? Math.max(topK, alternatives) : 'all';
}

/** Chooses the token number `index` of a request's answer. */
export function choose(logits: Logits, sampling: Sampling, index: number): Chosen {
  const { values, logSumExp } = logits;
  const idAt = (place: number): number => logits.ids?.[place] ?? place;
  const scores = biased(logits, sampling.bias);
  const place = sampling.temperature === 0 ? likeliest(scores) : drawn(scores, sampling, index);
  const scored = (at: number): Scored => ({ token: idAt(at), logProbability: (values[at] as number) - logSumExp });
  const best = sampling.alternatives > 0 ? ranked(values, sampling.alternatives) : [];
  return { ...scored(place), alternatives: best.map(scored) };
}

function biased({ ids, values }: Logits, bias: Sampling['bias']): Float32Array {
  if (!bias || bias.size === 0 || ids) return values;
  const scores = values.slice();
  for (const [token, amount] of bias) if (token < scores.length) scores[token] = (scores[token] as number) + amount;
  return scores;
}

/** The place of the largest; of equals, the first. */
function likeliest(scores: Float32Array): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if ((scores[i] as number) > (scores[best] as number)) best = i;
  return best;
}

/** The places of the `count` largest, largest first, lower places before equals: decoders' candidates are so. */
function ranked(scores: Float32Array, count: number): number[] {
  const order = (a: number, b: number): number => (scores[b] as number) - (scores[a] as number) || a - b;
  const best: number[] = [];
  for (let place = 0; place < scores.length; place++) {
    if (best.length === count && order(place, best[count - 1] as number) > 0) continue;
    best.push(place);
    best.sort(order);
    if (best.length > count) best.pop();
  }
  return best;
}

/** A draw by temperature, top_k and top_p: along the cumulative sum, in doubles. */
function drawn(scores: Float32Array, { temperature, topK, topP, seed, choice = 0 }: Sampling, index: number): number {
  const best = likeliest(scores);
  const largest = scores[best] as number;
  const weights = new Float64Array(scores).map((score) => Math.exp((score - largest) / temperature));
  if (topK > 0 && topK < weights.length) keepLargest(weights, weights.slice().sort(), topK);
  if (topP < 1) keepNucleus(weights, topP);
  const [draw = 0] = uniforms(keyOf(seed, `answer ${choice}`), index, 1);
  let left = draw * sum(weights);
  for (let place = 0; place < weights.length; place++) {
    left -= weights[place] as number;
    if (left < 0) return place;
  }
  return best; // rounding left a crumb
}

const sum = (numbers: Float64Array): number => numbers.reduce((a, b) => a + b, 0);

/**
 * Leaves the fewest largest weights that together have at least `topP` of all. Of n weights, one below (1 - topP) / n
 * of all is never among them, since all such together have less than 1 - topP: only the others are sorted.
 */
function keepNucleus(weights: Float64Array, topP: number): void {
  const total = sum(weights);
  const least = ((1 - topP) / weights.length) * total;
  const rising = weights.filter((weight) => weight >= least).sort();
  let [count, had] = [0, 0];
  while (count < rising.length && had < topP * total) had += rising[rising.length - ++count] as number;
  keepLargest(weights, rising, count);
}

/** Leaves the `count` largest weights, of equals those that come first; `rising` is them sorted, and maybe others. */
function keepLargest(weights: Float64Array, rising: Float64Array, count: number): void {
  const smallest = rising[rising.length - count] as number;
  let equals = rising.subarray(rising.length - count).filter((weight) => weight === smallest).length;
  for (let place = 0; place < weights.length; place++) {
    const weight = weights[place] as number;
    const isKept = weight > smallest || (weight === smallest && equals-- > 0);
    if (!isKept) weights[place] = 0;
  }
}
