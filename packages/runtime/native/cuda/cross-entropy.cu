/**
 * Softmax, loss and gradient of one row of logits a block (the equations stand in packages/ops/src/cross-entropy.ts).
 *
 *     loss = log Σ exp(logits) - logit of the target
 *     logits <- weight · (softmax - 1 at the target)         in place: nobody needs the logits any more
 *
 * The threads keep the row in registers, as it lies in memory: it is read once and written once. Its maximum and its
 * sum are found together: a sum of exp(x - m) is brought down by exp(m - m') where a larger maximum m' turns up.
 *
 * Where ranks share out the words it is cut in two (split-softmax.ts there): `logit_statistics` reads a row and writes
 * three numbers, and when those of all ranks are there `logit_gradient` reads it once more and writes the gradient.
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

// Two parts of a row become one: the sum under the smaller maximum is brought down to the larger one.
__device__ inline Softmax join(Softmax a, Softmax b) {
    const float most = fmaxf(a.most, b.most);
    if (most == -INFINITY) return {most, a.sum + b.sum};  // both 0, or NaN
    return {most, a.sum * exponential(a.most - most) + b.sum * exponential(b.most - most)};
}

// Pairs, pairs of pairs, ...: the same in every thread of the warp, and in the same order every time.
__device__ inline Softmax of_warp(Softmax x) {
    for (int step = 16; step > 0; step /= 2)
        x = join(x, {__shfl_xor_sync(0xffffffff, x.most, step), __shfl_xor_sync(0xffffffff, x.sum, step)});
    return x;
}

// ## A row, of which each thread has EACH packs

// Where in the row a thread's pack e begins: neighbours in the block are neighbours in memory.
__device__ inline int place(int e) { return (e * THREADS + threadIdx.x) * WIDTH; }

// A row into registers.
__device__ inline void read_row(const T* row, Pack<T, WIDTH>* x) {
    for (int e = 0; e < EACH; e++)
        if (place(e) < V) x[e] = load<WIDTH>(row + place(e));
}

// In every thread. `parts`: 32 of shared memory. When it returns, every thread has done what it did before.
__device__ inline Softmax softmax_of_row(const Pack<T, WIDTH>* x, Softmax* parts) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Softmax mine = {-INFINITY, 0};
    for (int e = 0; e < EACH; e++) {
        if (place(e) >= V) continue;
        float most = wide(x[e][0]), sum = 0;
        for (int i = 1; i < WIDTH; i++) most = fmaxf(most, wide(x[e][i]));
        const float from = most == -INFINITY ? 0 : most;  // no word of these can be
        for (int i = 0; i < WIDTH; i++) sum += exponential(wide(x[e][i]) - from);
        mine = join(mine, {most, sum});
    }
    mine = of_warp(mine);
    if (lane == 0) parts[warp] = mine;
    __syncthreads();
    return of_warp(lane < THREADS / 32 ? parts[lane] : Softmax{-INFINITY, 0});
}

// Over the row; `target` may be a word that isn't in it.
__device__ inline void write_gradient(T* row, Pack<T, WIDTH>* x, Softmax whole, int target, float weight) {
    const float scale = weight / whole.sum;
    for (int e = 0; e < EACH; e++) {
        if (place(e) >= V) continue;
        for (int i = 0; i < WIDTH; i++) {
            const float p = exponential(wide(x[e][i]) - whole.most) * scale;
            x[e][i] = narrow<T>(place(e) + i == target ? p - weight : p);
        }
        store(row + place(e), x[e]);
    }
}

// ## The kernels

// Row by row: the loss, and over the logits their gradient.
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(T* logits, const int* targets, float weight, int gradients, float* losses) {
    __shared__ Softmax parts[32];
    T* row = logits + static_cast<int64_t>(blockIdx.x) * V;
    const int target = targets[blockIdx.x];
    const float logit = target >= 0 && target < V ? wide(row[target]) : NAN;
    Pack<T, WIDTH> x[EACH];
    read_row(row, x);
    const Softmax whole = softmax_of_row(x, parts);  // and every thread has read the target's logit
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(whole.sum) - (logit - whole.most);
    if (gradients) write_gradient(row, x, whole, target, weight);
}

// Of words `first` to first + V - 1, the largest logit, the sum, and the target's logit or 0: stats [C, 3].
extern "C" __global__ void __launch_bounds__(THREADS)
    logit_statistics(const T* logits, const int* targets, int first, float* stats) {
    __shared__ Softmax parts[32];
    const T* row = logits + static_cast<int64_t>(blockIdx.x) * V;
    const int target = targets[blockIdx.x] - first;
    Pack<T, WIDTH> x[EACH];
    read_row(row, x);
    const Softmax own = softmax_of_row(x, parts);
    if (threadIdx.x > 0) return;
    float* mine = stats + 3 * static_cast<int64_t>(blockIdx.x);
    mine[0] = own.most;
    mine[1] = own.sum;
    mine[2] = target >= 0 && target < V ? wide(row[target]) : 0;
}

// The loss and the gradient from the statistics of n ranks, [n, C, 3], added up in their order.
extern "C" __global__ void __launch_bounds__(THREADS)
    logit_gradient(T* logits, const int* targets, const float* stats, int n, int first, float weight, int gradients,
                   float* losses) {
    T* row = logits + static_cast<int64_t>(blockIdx.x) * V;
    const int target = targets[blockIdx.x];
    Pack<T, WIDTH> x[EACH];
    if (gradients) read_row(row, x);  // on its way while the ranks' numbers are put together
    Softmax whole = {-INFINITY, 0};
    float logit = target >= 0 && target < static_cast<int64_t>(n) * V ? 0 : NAN;
    for (int64_t r = 0; r < n; r++) whole.most = fmaxf(whole.most, stats[3 * (r * gridDim.x + blockIdx.x)]);
    for (int64_t r = 0; r < n; r++) {
        const float* of = stats + 3 * (r * gridDim.x + blockIdx.x);
        whole.sum += of[1] * expf(of[0] - whole.most);
        logit += of[2];
    }
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(whole.sum) - (logit - whole.most);
    if (gradients) write_gradient(row, x, whole, target - first, weight);
}
