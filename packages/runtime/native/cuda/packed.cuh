/**
 * Packed numbers on the GPU: formats by their numbers (../shapes/packed-shape.h), float16, bytes four at a time.
 *
 * The bytes lie as on a processor, in panels of 16 rows (../ops/panels.h). That order suits a GPU too: 16 bytes, which
 * memory serves fastest to a thread, are one word of 4 rows, and 16 neighbours read the words of a Q40 block's 16 rows:
 *
 *     d of rows 0..15 | w0 of rows 0..3 | 4..7 | 8..11 | 12..15 | w1 of rows 0..3 | ...
 *                       thread 0        | 1    | 2     | 3      | 4               | ... 15
 *
 * FORMAT is a constant that the host gives.
 */
#pragma once
#include "types.cuh"

constexpr int F32 = 0, BF16 = 1, Q40 = 2, Q41 = 3, Q80 = 4;
constexpr int BLOCK = 32;  // numbers with one scale
constexpr int PANEL = 16;  // rows side by side

// Bytes of the scales of a block, of its numbers, and of both.
__device__ constexpr int scale_bytes(int format) {
    return format == Q41 ? 4 : format == Q40 || format == Q80 ? 2 : 0;
}
__device__ constexpr int number_bytes(int format) {
    return format == F32 ? 128 : format == BF16 ? 64 : format == Q80 ? 32 : 16;
}
__device__ constexpr int block_bytes(int format) { return scale_bytes(format) + number_bytes(format); }

using byte = unsigned char;

__device__ inline float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
// Rounds to the nearest, ties to even.
__device__ inline unsigned short float_to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// sum + the four products of a's and b's bytes, which have signs.
__device__ inline int dot4(unsigned a, unsigned b, int sum) {
    int y;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}

// The largest over the 32 threads of a warp, in every one of them.
__device__ inline float warp_max(float x) {
    for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, step));
    return x;
}

// The reciprocal, or 0 for 0: a block of zeros has the scale 0.
__device__ inline float inverse(float d) { return d == 0 ? 0 : 1 / d; }
