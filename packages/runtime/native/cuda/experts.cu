/**
 * Which experts compute which rows, and the sum of what they give (../ops/experts.h has the equations).
 *
 *   choose       logits [N, E] → each row's ACTIVE experts in order of their number, and their weights: [N, ACTIVE]
 *   sort_visits  → order: the N · ACTIVE visits by expert; starts [COUNT + 1]: where in it each expert's begin
 *   combine      y = [onto +] Σ weight · out over a row's visits, in order
 *
 * The products between them (packed-product.cu) have a block of threads for each expert and panel, and those of an
 * expert that nobody visits end at once. So all is decided on the GPU, and nobody waits for logits to come to the host.
 * A rank has experts FIRST .. FIRST + COUNT - 1 alone: visits to others are in no list, and are left out of the sum.
 */
#include "types.cuh"

constexpr float LEAST = -3.402823466e38f;

// The visit with the larger score, of equal ones the lower expert, over a warp.
__device__ inline void best_of_warp(float& score, int& expert) {
    for (int step = 16; step > 0; step /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, score, step);
        const int number = __shfl_xor_sync(0xffffffff, expert, step);
        if (other > score || (other == score && number < expert)) score = other, expert = number;
    }
}

// A warp for each row.
extern "C" __global__ void choose(const float* logits, int normalized, int* experts, float* weights) {
    __shared__ unsigned chosen[(E + 31) / 32];
    const int64_t n = blockIdx.x;
    const int lane = threadIdx.x;
    const float* row = logits + n * E;
    for (int i = lane; i < (E + 31) / 32; i += 32) chosen[i] = 0;
    __syncwarp();
    float most = LEAST, sum = 0;
    for (int k = 0; k < ACTIVE; k++) {
        float score = -INFINITY;
        int expert = E;
        for (int e = lane; e < E; e += 32) {
            const bool free = (chosen[e / 32] >> e % 32 & 1) == 0;
            const float its = row[e] == row[e] ? row[e] : LEAST;  // NaN shows in the weights
            if (free && (expert == E || its > score)) score = its, expert = e;
        }
        best_of_warp(score, expert);
        if (k == 0) most = score;
        if (lane == 0) chosen[expert / 32] |= 1u << expert % 32;
        sum += expf(score - most);
        __syncwarp();
    }
    if (!normalized) {
        sum = 0;
        for (int e = lane; e < E; e += 32) sum += expf(row[e] - most);
        sum = warp_sum(sum);
    }
    if (lane > 0) return;
    for (int e = 0, k = 0; e < E; e++) {
        if ((chosen[e / 32] >> e % 32 & 1) == 0) continue;
        experts[n * ACTIVE + k] = e;
        weights[n * ACTIVE + k++] = expf(row[e] - most) / sum;
    }
}

// One block. A thread looks through all visits for one expert at a time, twice: to count them, and to write them down.
extern "C" __global__ void sort_visits(const int* experts, int visits, int* order, int* starts) {
    __shared__ int begins[COUNT + 1];
    for (int c = threadIdx.x; c < COUNT; c += blockDim.x) {
        int count = 0;
        for (int v = 0; v < visits; v++) count += experts[v] == FIRST + c;
        begins[c + 1] = count;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        begins[0] = 0;
        for (int c = 0; c < COUNT; c++) begins[c + 1] += begins[c];
    }
    __syncthreads();
    for (int c = threadIdx.x; c <= COUNT; c += blockDim.x) {
        starts[c] = begins[c];
        int at = begins[c];
        for (int v = 0; v < visits && c < COUNT; v++)
            if (experts[v] == FIRST + c) order[at++] = v;
    }
}

// Block (n, t): numbers of row n. Visits to experts elsewhere have nothing in `out`.
extern "C" __global__ void combine(const int* experts, const float* weights, const float* out, const float* onto,
                                   int D, float* y) {
    const int64_t n = blockIdx.x, d = blockIdx.y * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    if (d >= D) return;
    float sum = onto ? onto[n * D + d] : 0;
    for (int64_t v = n * ACTIVE; v < (n + 1) * ACTIVE; v++)
        if (experts[v] >= FIRST && experts[v] < FIRST + COUNT) sum = fmaf(weights[v], out[v * D + d], sum);
    y[n * D + d] = sum;
}
