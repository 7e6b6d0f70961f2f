/**
 * RMSNorm backward (the equations stand in packages/ops/src/rms-norm.ts), with the residual stream's gradient added:
 *
 *     dx = onto + r · (g - x̂ · mean(g · x̂)),   g = dy · w,   x̂ = x · r
 *     dw = Σ over rows of dy · x̂
 *
 * A block takes some of the rows, and a thread always the same columns: so it keeps its part of dw in registers
 * over all rows of the block, and no two threads ever add to the same number. Each block writes its sums to a row of
 * `parts` [blocks, D], which `sum_parts` adds up in order: the bits are the same every time. Atomic additions would
 * save the second kernel, and give other bits at every run.
 *
 * Memory sees dy, x and onto once, and dx once. A block takes ROWS rows at a time: their reads are all on their way
 * before the first is used, and one barrier serves the sums of all. The version before it took them one by one, and a
 * block waited for memory, then for the sum over its threads, then for memory. THREADS · EACH · WIDTH columns are at
 * least D.
 */
#include "types.cuh"

constexpr int ROWS = 2, WARPS = (THREADS + 31) / 32;

// What a thread has of a row: dy, x and what dx is added to.
struct Row {
    Pack<T, WIDTH> dy[EACH], x[EACH], onto[EACH];
    float r;
};

__device__ inline Row fetch(const T* dy, const T* x, const T* onto, const float* r, int64_t n, bool there) {
    Row row = {};
    if (there) row.r = r[n];
    for (int e = 0; e < EACH; e++) {
        const int d = (e * THREADS + threadIdx.x) * WIDTH;
        if (!there || d >= D) continue;
        row.dy[e] = load<WIDTH>(dy + n * D + d);
        row.x[e] = load<WIDTH>(x + n * D + d);
        if (onto) row.onto[e] = load<WIDTH>(onto + n * D + d);
    }
    return row;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rms_norm_grad(const T* dy, const T* x, const T* w, const float* r, const T* onto, int64_t N, T* dx, float* parts) {
    __shared__ float sums[2][ROWS][WARPS];  // of each warp; written in turn, so that a barrier less is needed
    float dw[EACH][WIDTH] = {}, w_[EACH][WIDTH] = {};
    for (int e = 0; e < EACH; e++) {
        const int d = (e * THREADS + threadIdx.x) * WIDTH;
        if (d >= D) continue;
        const auto pack = load<WIDTH>(w + d);
        for (int i = 0; i < WIDTH; i++) w_[e][i] = wide(pack[i]);
    }
    int turn = 0;
    for (int64_t n = static_cast<int64_t>(blockIdx.x) * ROWS; n < N; n += static_cast<int64_t>(gridDim.x) * ROWS) {
        Row rows[ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; k++) rows[k] = fetch(dy, x, onto, r, n + k, n + k < N);
        turn ^= 1;
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            float along = 0;
            for (int e = 0; e < EACH; e++)
                for (int i = 0; i < WIDTH; i++) {
                    const float x_hat = wide(rows[k].x[e][i]) * rows[k].r, dy_ = wide(rows[k].dy[e][i]);
                    dw[e][i] += dy_ * x_hat;
                    along += dy_ * w_[e][i] * x_hat;
                }
            along = warp_sum(along);
            if (threadIdx.x % 32 == 0) sums[turn][k][threadIdx.x / 32] = along;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < ROWS; k++) {
            float along = 0;
            for (int warp = 0; warp < WARPS; warp++) along += sums[turn][k][warp];
            along /= D;
            for (int e = 0; e < EACH; e++) {
                const int d = (e * THREADS + threadIdx.x) * WIDTH;
                if (n + k >= N || d >= D) continue;
                auto dx_ = rows[k].onto[e];
                for (int i = 0; i < WIDTH; i++) {
                    const float x_hat = wide(rows[k].x[e][i]) * rows[k].r, g = wide(rows[k].dy[e][i]) * w_[e][i];
                    dx_[i] = narrow<T>(wide(dx_[i]) + rows[k].r * (g - x_hat * along));
                }
                store(dx + (n + k) * D + d, dx_);
            }
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
