/**
 * Rows of a packed matrix as floats, x [N, I]: the vectors of words (../ops/panels.h has where a row's bytes lie).
 *
 * A block of threads takes a row. A row's words lie 64 bytes apart, so that of each 32 bytes which memory hands over 4
 * are used: that is little time for a few rows of a few hundred blocks.
 */
#include "packed.cuh"

__device__ inline float number_at(const byte* block, int lane, int i) {
    constexpr int SCALES = PANEL * scale_bytes(FORMAT);
    const auto half = [=](int from) {
        return half_to_float(reinterpret_cast<const unsigned short*>(block + from)[lane]);
    };
    const auto word = [=](int t) { return reinterpret_cast<const unsigned*>(block + SCALES)[t * PANEL + lane]; };
    if (FORMAT == F32) return __uint_as_float(word(i));
    if (FORMAT == BF16) return __uint_as_float(i % 2 == 0 ? word(i / 2) << 16 : word(i / 2) & 0xffff0000u);
    if (FORMAT == Q80) return half(0) * static_cast<signed char>(word(i / 4) >> 8 * (i % 4));
    const int q = word(i % 16 / 4) >> (8 * (i % 4) + (i < 16 ? 0 : 4)) & 15;
    return FORMAT == Q40 ? half(0) * (q - 8) : half(0) * q + half(2 * PANEL);
}

extern "C" __global__ void packed_rows(const byte* w, const int* ids, int blocks, int I, float* x) {
    const int64_t n = blockIdx.x, id = ids[n];
    const byte* panel = w + id / PANEL * blocks * PANEL * block_bytes(FORMAT);
    for (int i = threadIdx.x; i < I; i += blockDim.x) {
        const byte* block = panel + static_cast<int64_t>(i / BLOCK) * PANEL * block_bytes(FORMAT);
        x[n * I + i] = number_at(block, id % PANEL, i % BLOCK);
    }
}
