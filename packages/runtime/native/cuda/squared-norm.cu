/**
 * Σ share · g² over many tensors in one launch, the same bits every time: each block sums a stretch of one tensor into
 * its own place, and a last block adds up the places in order. One read of all gradients.
 *
 * The version before it had a launch for each tensor: each begins and ends with an idle GPU, some microseconds of both.
 */
#include "types.cuh"

// One tensor of the list, as optimizer.h has it. Blocks `first` and on are its.
struct Gradient {
    const G* g;
    int64_t count, first;
    float share;
};

// As in optimizer.h, which counts the blocks.
constexpr int STRETCH = 32768;  // elements of a block

// One stretch of one tensor: its sum, times the tensor's share, at this block's place.
extern "C" __global__ void squares(const Gradient* all, int tensors, float* places) {
    __shared__ float scratch[32];
    const Gradient mine = all[entry_of(all, tensors, blockIdx.x)];
    const int64_t start = (blockIdx.x - mine.first) * STRETCH, end = min(mine.count, start + STRETCH);
    float sum = 0;
#pragma unroll 8
    for (int64_t at = start + threadIdx.x * WIDTH; at < end; at += blockDim.x * WIDTH) {
        const auto pack = load<WIDTH>(mine.g + at);
        for (int i = 0; i < WIDTH; i++) {
            const float g = wide(pack[i]);
            sum += g * g;
        }
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) places[blockIdx.x] = sum * mine.share;
}

// One block adds up all places, always in the same order.
extern "C" __global__ void sum_places(const float* places, int count, float* total) {
    __shared__ float scratch[32];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += places[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *total = sum;
}
