/**
 * Softmax, loss and gradient of one row of logits a block (the equations stand in packages/ops/src/cross-entropy.ts).
 *
 *     loss = log Σ exp(logits) - logit of the target
 *     logits <- weight · (softmax - 1 at the target)         in place: nobody needs the logits any more
 *
 * The threads keep the row in registers, as it lies in memory: it is read once and written once. Its maximum and its
 * sum are found together: a sum of exp(x - m) is brought down by exp(m - m') where a larger maximum m' turns up.
 *
 * The version before it read the row again from memory to overwrite it: a row in each of 528 blocks is more than the L2
 * cache holds.
 */
#include "types.cuh"

// In float32 the exact exponential; for bfloat16 the GPU's own, off by some units of 2^-22, is as good.
__device__ inline float exponential(float x) { return sizeof(T) == 4 ? expf(x) : __expf(x); }

// The largest of some numbers, and the sum of exp(number - largest).
struct Softmax {
    float most, sum;
};

__device__ inline Softmax join(Softmax a, Softmax b) {
    const float most = fmaxf(a.most, b.most);
    if (most == -INFINITY) return a;
    return {most, a.sum * exponential(a.most - most) + b.sum * exponential(b.most - most)};
}

__device__ inline Softmax of_warp(Softmax x) {
    for (int step = 16; step > 0; step /= 2)
        x = join(x, {__shfl_xor_sync(0xffffffff, x.most, step), __shfl_xor_sync(0xffffffff, x.sum, step)});
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(T* logits, const int* targets, float weight, int gradients, float* losses) {
    __shared__ Softmax parts[32];
    T* row = logits + static_cast<int64_t>(blockIdx.x) * V;
    const int target = targets[blockIdx.x], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool known = target >= 0 && target < V;
    const float logit = known ? wide(row[target]) : NAN;
    Pack<T, WIDTH> x[EACH];
    for (int e = 0; e < EACH; e++) {
        const int v = (e * THREADS + threadIdx.x) * WIDTH;
        if (v < V) x[e] = load<WIDTH>(row + v);
    }
    Softmax mine = {-INFINITY, 0};
    for (int e = 0; e < EACH; e++) {
        if ((e * THREADS + threadIdx.x) * WIDTH >= V) continue;
        float most = wide(x[e][0]), sum = 0;
        for (int i = 1; i < WIDTH; i++) most = fmaxf(most, wide(x[e][i]));
        for (int i = 0; i < WIDTH; i++) sum += exponential(wide(x[e][i]) - most);
        mine = join(mine, {most, sum});
    }
    mine = of_warp(mine);
    if (lane == 0) parts[warp] = mine;
    __syncthreads();  // and every thread has read the target's logit
    const Softmax whole = of_warp(lane < THREADS / 32 ? parts[lane] : Softmax{-INFINITY, 0});
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(whole.sum) + whole.most - logit;
    if (!gradients) return;
    const float scale = weight / whole.sum;
    for (int e = 0; e < EACH; e++) {
        const int v = (e * THREADS + threadIdx.x) * WIDTH;
        if (v >= V) continue;
        for (int i = 0; i < WIDTH; i++) {
            const float p = exponential(wide(x[e][i]) - whole.most) * scale;
            x[e][i] = narrow<T>(v + i == target ? p - weight : p);
        }
        store(row + v, x[e]);
    }
}
