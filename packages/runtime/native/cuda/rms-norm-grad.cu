/**
 * RMSNorm backward (the equations stand in packages/ops/src/rms-norm.ts), with the residual stream's gradient added:
 *
 *     dx = onto + r · (g - x̂ · mean(g · x̂)),   g = dy · w,   x̂ = x · r
 *     dw = Σ over rows of dy · x̂
 *
 * A block takes every gridDim.x-th row, and a thread always the same columns: so it keeps its part of dw in registers
 * over all rows of the block, and no two threads ever add to the same number. Each block writes its sums to a row of
 * `parts` [blocks, D], which `sum_parts` adds up in order: the bits are the same every time. Atomic additions would
 * save the second kernel, and give other bits at every run.
 *
 * Memory sees dy, x and onto once, and dx once. THREADS · EACH · WIDTH columns are at least D.
 */
#include "types.cuh"

// dx, and this block's part of dw.
extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm_grad(const T* dy, const T* x, const T* w, const float* r, const T* onto, int64_t N, T* dx, float* parts) {
    __shared__ float scratch[32];
    float dw[EACH][WIDTH] = {}, w_[EACH][WIDTH];
    for (int e = 0; e < EACH; e++) {
        const int d = (e * THREADS + threadIdx.x) * WIDTH;
        if (d >= D) continue;
        const auto pack = load<WIDTH>(w + d);
        for (int i = 0; i < WIDTH; i++) w_[e][i] = wide(pack[i]);
    }
    for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
        float g[EACH][WIDTH], x_hat[EACH][WIDTH], along = 0;
        Pack<T, WIDTH> dx_[EACH] = {};  // first what it is added to
        for (int e = 0; e < EACH; e++) {
            const int d = (e * THREADS + threadIdx.x) * WIDTH;
            if (d >= D) continue;
            const auto dy_ = load<WIDTH>(dy + n * D + d), x_ = load<WIDTH>(x + n * D + d);
            if (onto) dx_[e] = load<WIDTH>(onto + n * D + d);
            for (int i = 0; i < WIDTH; i++) {
                x_hat[e][i] = wide(x_[i]) * r[n];
                g[e][i] = wide(dy_[i]) * w_[e][i];
                dw[e][i] += wide(dy_[i]) * x_hat[e][i];
                along += g[e][i] * x_hat[e][i];
            }
        }
        along = block_sum(along, scratch) / D;
        for (int e = 0; e < EACH; e++) {
            const int d = (e * THREADS + threadIdx.x) * WIDTH;
            if (d >= D) continue;
            for (int i = 0; i < WIDTH; i++)
                dx_[e][i] = narrow<T>(wide(dx_[e][i]) + r[n] * (g[e][i] - x_hat[e][i] * along));
            store(dx + n * D + d, dx_[e]);
        }
    }
    for (int e = 0; e < EACH; e++)
        for (int i = 0; i < WIDTH; i++) {
            const int d = (e * THREADS + threadIdx.x) * WIDTH + i;
            if (d < D) parts[static_cast<int64_t>(blockIdx.x) * D + d] = dw[e][i];
        }
}

// dw[d] = Σ over blocks of parts[block][d]. 32 columns a block; 32 warps share the rows and add their sums in order.
extern "C" __global__ void sum_parts(const float* parts, int count, float* dw) {
    __shared__ float sums[32][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, d = blockIdx.x * 32 + lane;
    float sum = 0;
    if (d < D)
        for (int block = warp; block < count; block += 32) sum += parts[static_cast<int64_t>(block) * D + d];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || d >= D) return;
    for (int other = 1; other < 32; other++) sum += sums[other][lane];
    dw[d] = sum;
}
