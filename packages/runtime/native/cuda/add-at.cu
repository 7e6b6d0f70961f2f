/**
 * sum [B, tokens, ...], float32, gets a part of T added at some places along time, where it lies: what a block of keys
 * adds to the gradients by its queries, or by its keys and values.
 *
 * Block (x, b) has a stretch of sequence b's part, which is `count` numbers in one piece; a sequence of the sum has
 * `stride`, and the part begins `offset` numbers into it. A thread takes WIDTH neighbours.
 *
 * The version before it padded the part with zeros to all tokens, and the sum was a new tensor.
 */
#include "types.cuh"

// A read of the part, and a read and a write of as much of the sum: the rest of it is not touched.
extern "C" __global__ void add_at(float* sum, const T* part, int64_t count, int64_t stride, int64_t offset) {
    const int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * WIDTH;
    if (at >= count) return;
    float* to = sum + blockIdx.y * stride + offset + at;
    auto sums = load<WIDTH>(to);
    const auto part_ = load<WIDTH>(part + blockIdx.y * count + at);
    for (int i = 0; i < WIDTH; i++) sums[i] += wide(part_[i]);
    store(to, sums);
}
