/**
 * A layer is a function that returns its value and its pullback.
 *
 *   const [y, pull] = await layer(x)      // forward; `pull` owns what backward will need
 *   const dx = await pull(dy)             // backward, called once; parameters accumulate their gradients on the way
 *
 * If y = f(x) and L is the loss, then dy stands for the gradient of L by y, and the pullback turns it into the gradient
 * by x: dx = dy · f'(x), the chain rule. There is no tape and nothing hidden: a layer that is made of others calls
 * their pullbacks in reverse, and you can put a breakpoint on either.
 *
 * Who owns what: the caller owns x, y, dy and dx and disposes of them; so y is a tensor of its own even where it equals
 * x (`share(x)`). The pullback owns what it saved and frees it when it is called, or when it is dropped because no
 * gradient is wanted (evaluation, recomputation).
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as tf from '@tensorflow/tfjs-core';
import { add, share } from './kernels.ts';

/** Backward of one call of a layer: from the gradient by its value to the gradient by its input. */
export interface Pullback<X = Tensor, Y = Tensor> {
  /** Accumulates the parameters' gradients and returns dx, which the caller owns; called once. */
  (dy: Y): Promise<X>;
  /** Frees what was saved, without a gradient. */
  drop(): void;
  /** base + dx at once, where the pullback can do that for less: instead of the plain call. base stays the caller's. */
  onto?(dy: Y, base: X): Promise<X>;
  /** The same of a dy that is taken over: dx may be written over it. */
  over?(dy: Y): Promise<X>;
}
/** A pullback that can add dx to a base. */
export interface PullbackOnto<X = Tensor, Y = Tensor> extends Pullback<X, Y> {
  onto(dy: Y, base: X): Promise<X>;
}
/** Forward: from x to its value, and the pullback that goes back. */
export interface Layer<X = Tensor, Y = Tensor> {
  /** The value, which the caller owns, and its pullback; x stays the caller's. */
  (x: X): Promise<[value: Y, pull: Pullback<X, Y>]>;
  /** base + y at once, where the layer can do that for less: what flows past it is added inside its last product. */
  onto?(x: X, base: Y): Promise<[value: Y, pull: Pullback<X, Y>]>;
  /** The same of an x that is taken over: y may be written over it. */
  over?(x: X): Promise<[value: Y, pull: Pullback<X, Y>]>;
  /** The pullback alone, where nobody wants y and the layer can spare itself its last product. */
  again?(x: X): Promise<Pullback<X, Y>>;
  /** The pullback of a layer that only passes on: it needs nothing of x, which then need not be computed either. */
  blind?(): Pullback<X, Y>;
}

/** A pullback that owns the tensors `saved`: `run` uses them, and they are freed after it, or on drop. */
export function pullback<X, Y>(saved: Tensor[], run: (dy: Y) => X | Promise<X>): Pullback<X, Y> {
  const drop = () => tf.dispose(saved);
  const call = async (dy: Y) => {
    const dx = await run(dy);
    drop();
    return dx;
  };
  return Object.assign(call, { drop });
}

/** The same for what can also add dx to a base: `run` is given one, or none. */
export function pullbackOnto<X, Y>(saved: Tensor[], run: (dy: Y, base?: X) => X | Promise<X>): PullbackOnto<X, Y> {
  const alone = pullback<X, Y>(saved, (dy) => run(dy));
  const added = pullback<X, [Y, X]>(saved, ([dy, base]) => run(dy, base));
  return Object.assign(alone, { onto: (dy: Y, base: X) => added([dy, base]) });
}

/** A pullback made of others, which `run` calls, each once; `onto` if it can add to a base. */
export function pullbackThrough<X, Y>(
  parts: { drop(): void }[],
  run: (dy: Y) => Promise<X>,
  onto?: (dy: Y, base: X) => Promise<X>,
): Pullback<X, Y> {
  const drop = () => {
    for (const part of parts) part.drop();
  };
  return Object.assign(run, { drop, ...(onto ? { onto } : {}) });
}

/** base + f(x), whether or not f knows how to add. */
async function forwardOnto(f: Layer, x: Tensor, base: Tensor): ReturnType<Layer> {
  if (f.onto) return f.onto(x, base);
  const [fx, pull] = await f(x);
  return [sumOf(base, fx), pull];
}

/** base + pull(dy), whether or not the pullback knows how to add. */
const backwardOnto = async (pull: Pullback, dy: Tensor, base: Tensor): Promise<Tensor> =>
  pull.onto ? pull.onto(dy, base) : sumOf(base, await pull(dy));

/** What backward of f needs, whether or not f can do with less than its value. */
async function pullbackAgain(f: Layer, x: Tensor): Promise<Pullback> {
  if (f.blind) return f.blind();
  if (f.again) return f.again(x);
  const [y, pull] = await f(x);
  y.dispose();
  return pull;
}

/** base + x, which it frees. */
function sumOf(base: Tensor, x: Tensor): Tensor {
  const sum = add(base, x);
  x.dispose();
  return sum;
}

// ## Layers made of layers

/**
 * One layer after the other, at least one; backward in reverse. What lies between two layers is freed as soon as it
 * was read.
 *
 * The chain can add to a base if its last layer can, and its pullback if that of its first layer can. For the pullback
 * alone it stops at the last layer that looks at its input.
 */
export const chain = (...layers: Layer[]): Layer => {
  const onto = layers.at(-1)?.onto;
  const forward = async (x: Tensor, base?: Tensor): ReturnType<Layer> => {
    const [y, pulls] = await inOrder(base && onto ? layers.with(-1, (z) => onto(z, base)) : layers, x);
    return [y, inReverse(pulls)];
  };
  const again = async (x: Tensor) => {
    const seeing = layers.findLastIndex((layer) => !layer.blind);
    const [y, pulls] = await inOrder(layers.slice(0, Math.max(0, seeing)), x);
    for (const layer of layers.slice(pulls.length)) pulls.push(await pullbackAgain(layer, y));
    if (y !== x) y.dispose();
    return inReverse(pulls);
  };
  const run: Layer = (x) => forward(x);
  return Object.assign(run, { again }, onto ? { onto: forward } : {});
};

/** Forward of a chain: each value is freed once the next layer has read it, unless that layer writes over it. */
async function inOrder(layers: Layer[], x: Tensor): Promise<[Tensor, Pullback[]]> {
  const pulls: Pullback[] = [];
  let y = x;
  for (const layer of layers) {
    const isOwn = y !== x; // made here, and wanted by nobody but this layer
    const [next, pull] = isOwn && layer.over ? await layer.over(y) : await layer(y);
    if (isOwn && !layer.over) y.dispose();
    y = next;
    pulls.push(pull);
  }
  return [y, pulls];
}

/**
 * Backward of a chain, the last layer first. A gradient made on the way is freed likewise; the first layer adds the
 * base.
 */
function inReverse(pulls: Pullback[]): Pullback {
  const [first] = pulls;
  const backward = async (dy: Tensor, base?: Tensor) => {
    let d = dy;
    for (const pull of pulls.toReversed()) {
      const before = d;
      const onto = pull === first && base ? pull.onto : undefined;
      const over = before !== dy ? pull.over : undefined; // what was made here is wanted by nobody else
      if (onto) d = await onto(before, base as Tensor);
      else d = over ? await over(before) : await pull(before);
      if (before !== dy && (onto || !over)) before.dispose();
    }
    return d;
  };
  return pullbackThrough(pulls, (dy: Tensor) => backward(dy), first?.onto && backward);
}

/** y = x + f(x), so dx = dy + f'(dy): the residual stream. */
export const residual = (f: Layer): Layer => {
  const past = (pull: Pullback) => pullbackThrough([pull], (dy: Tensor) => backwardOnto(pull, dy, dy));
  const forward: Layer = async (x) => {
    const [y, pull] = await forwardOnto(f, x, x);
    return [y, past(pull)];
  };
  return Object.assign(forward, { again: async (x: Tensor) => past(await pullbackAgain(f, x)) });
};

/**
 * The same layer with less memory: forward keeps its input alone, and backward runs forward once more, up to what it
 * ends with: nobody needs the value of a block's last product, only what the product read.
 *
 *     recomputed(block)                  keeps D numbers a token of some 4 D + (2 H + 2 G) K + 3 F; a third more work
 *     recomputed(chain(norm, product))   keeps what lies before the norm, not what lies between the two: backward runs
 *                                        the norm again, but no product; and so of SwiGLU and the product after it
 *
 * The second kind is called selective: all large tensors that cost no product and no exchange between ranks to make
 * again. Korthikanti et al. (2022), whose word it is, meant attention's scores; here attention never keeps any.
 *
 * Chen et al., "Training deep nets with sublinear memory cost" (2016). The same kernels on the same input give the same
 * bits, so the gradients are exactly those of the layer itself.
 */
export const recomputed = (layer: Layer): Layer => {
  const pullOf = (x: Tensor): Pullback => {
    const saved = share(x);
    return pullbackOnto([saved], async (dy: Tensor, base?: Tensor) => {
      const pull = await pullbackAgain(layer, saved);
      return base ? backwardOnto(pull, dy, base) : pull(dy);
    });
  };
  const forgetful = async (x: Tensor, [y, pull]: [Tensor, Pullback]): ReturnType<Layer> => {
    pull.drop();
    return [y, pullOf(x)];
  };
  const forward: Layer = async (x) => forgetful(x, await layer(x));
  const { onto } = layer;
  const added = onto && { onto: async (x: Tensor, base: Tensor) => forgetful(x, await onto(x, base)) };
  return Object.assign(forward, { again: async (x: Tensor) => pullOf(x) }, added);
};
